"""The stories that environments keep of themselves."""

from rapid.events import Began, InitErrorPosted, InvokeArrived, NextCalled, ResponseEnded, SandboxLost
from rapid.invocation import Invocation, Outcome
from rapid.lifecycle import Lifecycle
from rapid.settings import Settings
from rapid.states import IllegalTransition, Phase, RuntimeState
from rapid.story import DETAIL, LENGTH, Story

OFFSET = 1_790_000_000.0
"""2026-09-21T14:13:20Z."""


def test_a_line() -> None:
    """When, in which phase and state of the runtime it ended up, what happened, and to whom."""
    story = Story()
    story.add(
        InvokeArrived(1.5, Invocation(request_id="one", arn="arn", payload=b"x", trace_id=""), 3),
        Phase.INVOKE,
        RuntimeState.RUNNING,
    )
    [line] = story.lines(OFFSET)
    assert line.split() == ["2026-09-21T14:13:21.500Z", "invoke", "Running", "InvokeArrived", "one"]


def test_no_payload_is_kept() -> None:
    """A story is made of names; what functions send is not in it."""
    story = Story()
    story.add(ResponseEnded(1, "one", Outcome(b"secret" * 1000)), Phase.INVOKE, RuntimeState.RESPONSE_SENT)
    assert "secret" not in repr(story._entries)


def test_it_is_bounded() -> None:
    """In events, and in what is said about one."""
    story = Story()
    for number in range(2 * LENGTH):
        story.add(SandboxLost(number, "x" * 10_000), Phase.ENDED, RuntimeState.ABSENT)
    lines = story.lines(OFFSET)
    assert len(story) == len(lines) == LENGTH
    assert max(map(len, lines)) < DETAIL + 100
    assert "14:16:40" in lines[0], "the first ones are gone"


def test_each_event_is_one_line() -> None:
    """Whatever names a function thought of, surrogates of undecodable bytes included."""
    story = Story()
    story.add(SandboxLost(1, "a\nb\r\udcff\u2028c"), Phase.ENDED, RuntimeState.ABSENT)
    [line] = story.lines(OFFSET)
    assert line.endswith("SandboxLost a b \ufffd c")
    assert line.encode().decode() == line


def test_refusals_are_told_too() -> None:
    """A call that the state does not allow is part of the story, with the reason."""
    environment = Lifecycle(Settings("$LATEST", 128, "python:3.11", "arn"))
    environment.handle(Began(1))
    for refused in (Began(2), NextCalled(3), InitErrorPosted(4, "Runtime.Unknown", b"")):
        try:
            environment.handle(refused)
        except IllegalTransition:
            continue
        raise AssertionError(refused)
    first, *others = environment.story.lines(OFFSET)
    assert first.endswith("Began")
    assert [line.partition("REFUSED: ")[2] for line in others] == [
        "init to begun",
        "Absent to Ready",
        "Absent to InitError",
    ]
