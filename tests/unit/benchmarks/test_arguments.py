"""What `python -m benchmarks` is asked for."""

import pytest

from benchmarks.__main__ import parser
from benchmarks.measures import ALONE, PARTS, SHARING
from benchmarks.measures.run import FULL, QUICK


def test_parts_one_by_one_or_together() -> None:
    """With commas between, or with an option each; without any it is all of them."""
    read = parser().parse_args
    assert read(["--only", "warm,burst", "--only", "emulator"]).only == ["warm", "burst", "emulator"]
    assert read([]).only is None
    assert set(PARTS) == set(ALONE) | set(SHARING)
    assert len(PARTS) == len(set(PARTS))


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """With the names that there are."""
    with pytest.raises(SystemExit):
        parser().parse_args(["--only", "warm,fast"])
    told = capsys.readouterr().err
    assert "no part is called 'fast'" in told
    assert all(part in told for part in PARTS)


def test_quick_is_less_of_everything() -> None:
    """But of everything there is some."""
    for name in ("rounds", "seconds", "cold", "starts", "functions", "burst", "some", "few"):
        assert 0 < getattr(QUICK, name) < getattr(FULL, name), name
    assert set(QUICK.crowds) < set(FULL.crowds)
