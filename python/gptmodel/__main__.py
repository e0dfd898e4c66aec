"""``python -m gptmodel``: the same as the command ``gptmodel``."""

from gptmodel.cli import run

run()
