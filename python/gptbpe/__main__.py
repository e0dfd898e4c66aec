"""``python -m gptbpe`` is ``gptbpe``."""

import sys

from gptbpe.cli import main

if __name__ == "__main__":
    sys.exit(main())
