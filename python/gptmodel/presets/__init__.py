"""Named configurations, as TOML files in this folder."""

from gptmodel.presets.loader import modern, names, preset

__all__ = ["modern", "names", "preset"]
