"""What is listed with commas in an option."""

from __future__ import annotations

import typer


def listed(text: str, option: str) -> list[str]:
    """What a text lists with commas.

    Raises:
        BadParameter: it lists nothing, or something twice.
    """
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise typer.BadParameter("it lists nothing; write names with commas, as in a,b,c", param_hint=option)
    if twice := [one for one in dict.fromkeys(found) if found.count(one) > 1]:
        raise typer.BadParameter(f"it lists {twice[0]!r} twice", param_hint=option)
    return found
