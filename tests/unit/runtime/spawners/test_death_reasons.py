import pytest

from runtime.spawners.deaths import reason_of


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ("0", "exit status 0"),
        ("1", "exit status 1"),
        ("128", "exit status 128"),
        ("137", "signal: killed"),
        ("139", "signal: segmentation fault"),
        ("255", "exit status 255"),
        ("", "ended"),
        ("-1", "ended"),
    ],
)
def test_an_exit_status_is_told_for_people(status: str, reason: str) -> None:
    """Above 128 it is a signal, where there is such a signal: engines say 255 when they do not know."""
    assert reason_of(status, out_of_memory=False) == reason


def test_memory_is_the_better_reason() -> None:
    """The signal is only how the kernel does it."""
    assert reason_of("137", out_of_memory=True) == "out of memory"
