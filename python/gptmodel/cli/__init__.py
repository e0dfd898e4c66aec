"""The command ``gptmodel``."""

from gptmodel.cli.app import app
from gptmodel.cli.generate import until
from gptmodel.cli.main import main, train_main

__all__ = ["app", "main", "train_main", "until"]
