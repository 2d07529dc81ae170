"""Figures as people read them."""


def share(part: float, whole: float) -> str:
    """A share in percent: ``11.1 %``."""
    return f"{100 * part / whole:.1f} %"


def short(count: int) -> str:
    """A count in three or four digits and a unit: ``1.27 G``."""
    unit, size = next(((unit, size) for unit, size in (("T", 1e12), ("G", 1e9)) if count >= size), ("M", 1e6))
    value = count / size
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
