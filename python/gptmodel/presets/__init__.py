"""Named configurations, as TOML files in this folder, and the dial that derives two of them."""

from gptmodel.presets.depth import FAMILIES, derive, parameters, shape
from gptmodel.presets.loader import names, preset

__all__ = ["FAMILIES", "derive", "names", "parameters", "preset", "shape"]
