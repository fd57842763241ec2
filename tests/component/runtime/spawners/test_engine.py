import asyncio
import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from runtime.spawners import engine as module
from runtime.spawners.engine import Engine, EngineError, NoEngine, StepFailed

CONFIG: dict[str, Any] = {"Image": "i:1", "Labels": {"berth": "me"}, "HostConfig": {}}


async def test_no_engine_says_where_it_was_sought_and_what_to_do(tmp_path: Path) -> None:
    """The text is what a person acts upon."""
    with pytest.raises(NoEngine, match=r"nothing\.sock: No such file or directory.*make engine.*DOCKER_HOST"):
        await Engine.connect(f"unix://{tmp_path}/nothing.sock")


async def test_an_engine_that_does_not_answer_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket that accepts and stays silent costs the limit, not for ever."""
    monkeypatch.setattr(module, "PING_LIMIT", 1)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "s"))
        silent.listen()
        with pytest.raises(NoEngine):
            await Engine.connect(f"unix://{tmp_path}/s")


async def test_connecting_tells_what_answers(engine: Engine) -> None:
    """Version and product appear wherever the engine is named."""
    assert engine.facts.title == "Docker Engine 20.10.24"
    assert repr(engine).startswith("<Engine [Docker Engine 20.10.24 at unix://")


async def test_refusals_are_renamed(engine: Engine) -> None:
    """Nothing of the SDK's own exceptions gets past the engine; status and text do."""
    with pytest.raises(EngineError, match="No such image: i:1") as caught:
        await engine.create("c", CONFIG)
    assert caught.value.status == 404


async def test_a_lost_connection_is_renamed(engine: Engine, fake_engine: Any) -> None:
    """An engine that goes away in the middle has no status."""

    def die(request: str) -> None:
        raise ConnectionAbortedError

    fake_engine.before = die
    with pytest.raises(EngineError) as caught:
        await engine.containers("berth=me")
    assert caught.value.status is None


async def test_a_call_has_a_limit(engine: Engine, fake_engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that hangs does not hang its caller."""
    answer = threading.Event()
    fake_engine.before = lambda request: answer.wait(10) and None
    monkeypatch.setattr(module, "CALL_LIMIT", 0.01)
    try:
        with pytest.raises(EngineError, match=r"did not answer within 0\.01 s"):
            await engine.containers("berth=me")
    finally:
        answer.set()


@pytest.mark.parametrize("status", [404, 409])
async def test_removing_what_is_gone_or_going_is_no_error(
    engine: Engine, fake_engine: Any, status: int
) -> None:
    """Removal is idempotent."""
    fake_engine.failures.append(
        ("DELETE /containers/c", status, "removal of container c is already in progress")
    )
    await engine.remove("c")
    fake_engine.failures.append(("DELETE /images/i:1", status, "image is being used"))
    await engine.remove_image("i:1")


async def test_an_image_that_is_not_there_is_none(engine: Engine, fake_engine: Any) -> None:
    """Looking never asks a registry."""
    assert await engine.image("i:1") is None
    fake_engine.add_image("i:1")
    assert (await engine.image("i:1") or {})["RepoTags"] == ["i:1"]
    assert fake_engine.pulls == []


async def test_a_build_tells_its_steps(engine: Engine, fake_engine: Any) -> None:
    """Lines arrive one by one, without colours, blanks and progress bars."""
    fake_engine.build_steps = [
        {"stream": "Step 1/2 : FROM x\n"},
        {"stream": "\x1b[91mwarning\x1b[0m\n\n"},
        {"status": "Extracting", "progressDetail": {"current": 1}},
        {"aux": {"ID": "sha256:0"}},
    ]
    lines: list[str] = []
    await engine.build(b"context", "i:1", {"BASE": "b"}, {"l": "1"}, lines.append)
    assert lines == ["Step 1/2 : FROM x", "warning"]
    assert fake_engine.builds[0]["buildargs"] == {"BASE": "b"}
    assert fake_engine.builds[0]["context"] == b"context"
    assert fake_engine.builds[0]["forcerm"] == "True"


async def test_what_comes_in_pieces_or_is_drawn_again_is_one_line(engine: Engine, fake_engine: Any) -> None:
    """Package managers count on one line of a terminal; a line that never ends is passed on all the same."""
    endless = "." * 70000
    pieces = [
        "(Reading",
        " ... \r",
        "(Reading ... 5%\r(Reading ... 9 files)\r\nUnpacking\n",
        endless,
        "and on",
    ]
    fake_engine.build_steps = [{"stream": piece} for piece in pieces]
    lines: list[str] = []
    await engine.build(b"", "i:1", {}, {}, lines.append)
    assert lines == ["(Reading ... 9 files)", "Unpacking", endless, "and on"]


async def test_a_failed_build_shows_its_last_lines(engine: Engine, fake_engine: Any) -> None:
    """What went wrong stands first, how it came to that after it."""
    fake_engine.build_steps = [{"stream": f"line {n}\n"} for n in range(50)] + [
        {"error": "returned a non-zero code"}
    ]
    with pytest.raises(StepFailed) as caught:
        await engine.build(b"", "i:1", {}, {}, lambda line: None)
    first, *rest = str(caught.value).splitlines()
    assert first == "building i:1 failed: returned a non-zero code"
    assert rest == [f"line {n}" for n in range(20, 50)]


async def test_a_tree_becomes_an_image(engine: Engine, tmp_path: Path) -> None:
    """From memory and from a file."""
    (tmp_path / "t.tar").write_bytes(b"tar")
    await engine.load_tree(b"tar", "one/x:1")
    await engine.load_tree(tmp_path / "t.tar", "two/x:1", ["LABEL a=b"])
    assert await engine.image("one/x:1")
    assert await engine.image("two/x:1")


async def test_events_arrive_until_the_engine_hangs_up(engine: Engine, fake_engine: Any) -> None:
    """The stream ends quietly when the engine goes, and its reader with it."""
    fake_engine.add_image("i:1")
    identity, _ = await engine.create("c", CONFIG)
    async with engine.watch("berth=me", events=("die",)) as events:
        fake_engine.end("c", 3)
        event = await anext(events)
        fake_engine.hang_up()
        rest = [each async for each in events]
    assert event["Actor"] == {"ID": identity, "Attributes": {"berth": "me", "exitCode": "3"}}
    assert rest == []


async def test_leaving_events_ends_their_thread(engine: Engine, fake_engine: Any) -> None:
    """A watcher that is left while it waits leaves no thread behind."""
    async with engine.watch("berth=me", events=("die",)) as events:
        waiting = asyncio.ensure_future(anext(events))
        [reader] = [each for each in threading.enumerate() if each.name == "engine-events"]
    await asyncio.to_thread(reader.join, 5)
    assert not reader.is_alive()
    with pytest.raises((StopAsyncIteration, EngineError)):
        await waiting
