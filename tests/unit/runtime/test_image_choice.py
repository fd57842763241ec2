"""Which image serves a runtime: how it is written."""

import pytest

from runtime.image_choice import ImageChoice, parse

DIGEST = "registry.local:5000/team/py@sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("own", ImageChoice()),
        ("aws", ImageChoice("aws")),
        ("python3.12=mine:1", ImageChoice("own", (("python3.12", "mine:1"),))),
        (
            f"aws,python3.11=own,java8.al2={DIGEST}",
            ImageChoice("aws", (("python3.11", "own"), ("java8.al2", DIGEST))),
        ),
        ("own, nodejs22.x=aws", ImageChoice("own", (("nodejs22.x", "aws"),))),
    ],
)
def test_what_is_written_is_read(text: str, choice: ImageChoice) -> None:
    """And can be written again."""
    assert parse(text) == choice
    assert parse(str(choice)) == choice


@pytest.mark.parametrize(
    "text",
    [
        "other", "own,aws", "own,own", "python3.11=", "=mine", "python3.11=a,python3.11=b", "Python=a",
        "python3.11=-rf", "python3.11=a b", "", "own,",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(text: str) -> None:
    """Whatever it may have meant."""
    with pytest.raises(ValueError, match="twice"):
        parse(text)


def test_a_runtime_s_own_choice_wins() -> None:
    """The word for all is for those that are not named."""
    choice = parse("aws,python3.11=own,python3.12=mine:1")
    assert [choice.of(name) for name in ("python3.11", "python3.12", "ruby3.3")] == ["own", "mine:1", "aws"]
