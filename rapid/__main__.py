"""`python -m rapid`: the emulator, see `rapid.emulator`."""


def main() -> None:
    """Nothing yet."""
