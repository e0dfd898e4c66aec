"""``python -m gptmodel``, and the command ``gptmodel``."""

from typing import NoReturn

from gptmodel.threads import wait_politely


def main() -> NoReturn:
    """Run the command line; what must be decided before torch is loaded is decided first."""
    wait_politely()
    from gptmodel.cli import run

    run()


if __name__ == "__main__":
    main()
