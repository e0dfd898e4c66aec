"""``python -m gptmodel``, and the command ``gptmodel``."""

import sys

from gptmodel.threads import wait_politely


def main() -> int:
    """Run the command line; what must be decided before torch is loaded is decided first."""
    wait_politely()
    from gptmodel import cli

    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
