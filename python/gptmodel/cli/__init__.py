"""The command ``gptmodel``."""

from gptmodel.cli.app import app
from gptmodel.cli.generate import until
from gptmodel.cli.main import main, run, run_train

__all__ = ["app", "main", "run", "run_train", "until"]
