"""`python -m rapid`, and `aws-lambda-rie` of the bundle: the emulator."""

import sys

from rapid.emulator import main as emulate


def main() -> None:
    """Run it, and exit with its status."""
    sys.exit(emulate())


if __name__ == "__main__":
    main()
