"""The command ``gptmodel``."""

from gptmodel.cli.app import app
from gptmodel.cli.main import main, run

__all__ = ["app", "main", "run"]
