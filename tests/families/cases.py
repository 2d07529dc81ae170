"""Every model that is proven, by name."""

from families import crops, native, tiles

CASES = {**tiles.CASES, **crops.CASES, **native.CASES}
