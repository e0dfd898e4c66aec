"""``python -m gptbpe``, and the command ``gptbpe``."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line and end the process; Ctrl-C is quiet while modules are imported too."""
    try:
        from gptbpe.cli import main as run

        sys.exit(run())
    except KeyboardInterrupt:
        print("gptbpe: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
