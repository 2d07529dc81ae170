"""Muon for the matrices of a transformer, AdamW for everything else.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) steps along the orthogonal matrix nearest to the
momentum instead of along the momentum itself. The scale of the step and the decoupled weight decay follow Liu et al.
2025 (arXiv 2502.16982, eq. 4): 0.2 * sqrt(larger side), the root mean square that AdamW's steps have.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

QUINTIC = (3.4445, -4.7750, 2.0315)  # Jordan's coefficients: singular values of (0, 1] go to about 1 in few rounds


def orthogonalize(matrices: Tensor, rounds: int = 5) -> Tensor:
    """About U V^T of each ``U S V^T`` in ``[K, R, C]``, by Newton-Schulz iteration of an odd quintic."""
    a, b, c = QUINTIC
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(rounds):
        gram = x @ x.mT  # [K, R, R]
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalized; matrices of one shape are treated together."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.9, decay: float = 0.05) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            alike: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for matrix in group["params"]:
                if matrix.grad is not None:
                    alike[matrix.shape].append(matrix)
            for matrices in alike.values():
                self._step_alike(matrices, group["lr"], group["momentum"], group["decay"])

    def _step_alike(self, matrices: list[Tensor], lr: float, momentum: float, decay: float) -> None:
        ahead = [self._look_ahead(matrix, momentum) for matrix in matrices]
        scale = 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, direction in zip(matrices, orthogonalize(torch.stack(ahead)), strict=True):
            matrix.mul_(1 - lr * decay).add_(direction, alpha=-lr * scale)

    def _look_ahead(self, matrix: Tensor, momentum: float) -> Tensor:
        """Nesterov: the gradient moved towards the new momentum."""
        gradient = matrix.grad if matrix.grad is not None else torch.zeros_like(matrix)
        moving = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
        moving.lerp_(gradient, 1 - momentum)
        return gradient.lerp(moving, momentum)


def optimizers(module: nn.Module, decay: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of encoder, language model and projector; AdamW for embeddings, heads and vectors."""
    named = [(name, weight) for name, weight in module.named_parameters() if weight.requires_grad]
    is_matrix = {name: weight.ndim == 2 and "embed" not in name and "head" not in name for name, weight in named}
    rest = [weight for name, weight in named if not is_matrix[name]]
    groups = [
        {"params": [weight for weight in rest if weight.ndim > 1], "weight_decay": decay},
        {"params": [weight for weight in rest if weight.ndim <= 1], "weight_decay": 0.0},
    ]
    return [
        Muon([weight for name, weight in named if is_matrix[name]], lr=0.0),
        torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98)),
    ]


def set_rate(chosen: list[torch.optim.Optimizer], rate: float) -> None:
    """Muon steps twice as far as AdamW."""
    for optimizer in chosen:
        for group in optimizer.param_groups:
            group["lr"] = 2 * rate if isinstance(optimizer, Muon) else rate
