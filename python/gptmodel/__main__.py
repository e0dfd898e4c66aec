"""``python -m gptmodel``: the same as the command ``gptmodel``."""

import sys

from gptmodel.cli import main

sys.exit(main())
