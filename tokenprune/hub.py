"""Pipelines in repositories of the Hugging Face hub: YAML, a page and results; never code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenprune.errors import PipelineError

if TYPE_CHECKING:
    from tokenprune.pipeline import Pipeline

FILE, RESULTS, PAGE = "pipeline.yaml", "results.json", "README.md"
MOST = 100_000  # bytes of a pipeline file; a built-in one has a thousand
_PAGE = """\
---
library_name: tokenprune
tags: [tokenprune, token-pruning, vision-language]
---
# {name}

Which visual tokens a vision-language model keeps, without training: a pipeline for
[tokenprune](https://pypi.org/project/tokenprune-vlm/). It is YAML and holds no code.

```yaml
{yaml}```

```python
import tokenprune

pipeline = tokenprune.Pipeline.from_pretrained("{repository}")
with tokenprune.attach(model, pipeline) as pruned:
    model.generate(**inputs)
```
"""


class OnHub:
    """What makes a pipeline one that can be shared."""

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        **changes: Any,
    ) -> Pipeline:
        """A pipeline from a repository of the Hugging Face hub, or from a folder; one file of it is read, no code.

        Args:
            source: ``OWNER/NAME``, or a folder that holds ``pipeline.yaml``.
            revision: a branch, a tag or a commit; name a commit to get the same one for ever.
            token: for private repositories. None: the one that is logged in.
            cache_dir: where files of the hub are kept. None: where they always are.
            **changes: keys to replace, as in `load`.

        Raises:
            PipelineError: there is no such file, or it does not validate.
        """
        from tokenprune.pipeline import load

        path = Path(source).expanduser() / FILE
        if not path.parent.is_dir():
            path = _fetched(str(source), revision, token, cache_dir)
        if path.is_file() and path.stat().st_size > MOST:
            raise PipelineError(f"{FILE} of {str(source)!r} has {path.stat().st_size} bytes; no pipeline is that large")
        return load(path, **changes)

    def push_to_hub(
        self,
        repository: str,
        *,
        results: Mapping[str, Any] | None = None,
        private: bool | None = None,
        revision: str | None = None,
        token: str | None = None,
        message: str = "",
    ) -> str:
        """Put a pipeline into a repository of the Hugging Face hub, which is made if it is not there.

        Args:
            repository: ``OWNER/NAME``.
            results: what was measured with it, as plain values; becomes ``results.json``.
            private: whether a new repository is seen by its owner alone. None: as the hub does it.
            revision: the branch. None: the main one.
            token: to write with. None: the one that is logged in.
            message: of the commit.

        Returns:
            The address of the commit. A ``README.md`` is written if there is none yet.

        Raises:
            PluginError: a part is registered under no name, so YAML cannot name it.
            ValueError: results that JSON cannot hold.
            HfHubHTTPError: the hub refuses, for instance because nobody is logged in.
        """
        from huggingface_hub import CommitOperationAdd

        texts = _texts(self, results)
        api = _hub(token)
        where = api.create_repo(repository, private=private, exist_ok=True).repo_id
        if not api.file_exists(where, PAGE, revision=revision):
            texts[PAGE] = _PAGE.format(name=getattr(self, "name", where), yaml=texts[FILE], repository=where)
        files = [CommitOperationAdd(path, text.encode("utf-8")) for path, text in texts.items()]
        commit = api.create_commit(where, files, commit_message=message or f"Add {FILE}", revision=revision)
        return str(commit.commit_url)


def _hub(token: str | bool | None) -> Any:
    from huggingface_hub import HfApi

    from tokenprune import __version__

    return HfApi(token=token, library_name="tokenprune", library_version=__version__)


def _texts(pipeline: Any, results: Mapping[str, Any] | None) -> dict[str, str]:
    """What goes into a repository, by its place there."""
    texts: dict[str, str] = {FILE: pipeline.to_yaml()}
    if results is not None:
        try:
            texts[RESULTS] = json.dumps(results, indent=2, allow_nan=False) + "\n"
        except (TypeError, ValueError) as problem:
            raise ValueError(f"results must be plain values that JSON can hold: {problem}") from problem
    return texts


def _fetched(repository: str, revision: str | None, token: str | bool | None, cache_dir: str | Path | None) -> Path:
    """The pipeline file of a repository, in the cache."""
    try:
        found = _hub(token).hf_hub_download(repository, FILE, revision=revision, cache_dir=cache_dir)
    except Exception as problem:  # the hub and the way to it have errors of their own
        first = str(problem).strip().split("\n")[0]
        raise PipelineError(
            f"cannot get {FILE} from the hub repository {repository!r}, and there is no folder of that name: {first}"
        ) from problem
    return Path(found)
