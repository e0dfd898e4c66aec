"""``python -m gptmodel``, and the command ``gptmodel``."""

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(before: Sequence[str] = ()) -> NoReturn:
    """Run the command line, with the words ``before`` those that were typed, and end the process.

    Ctrl-C is quiet from the first import on.
    """
    try:
        from gptmodel.cli import run

        run([*before, *sys.argv[1:]])
    except KeyboardInterrupt:
        print("gptmodel: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
