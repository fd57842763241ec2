"""An environment between its runtime and its supervisor: what it tells either, what it logs, what it holds."""

import asyncio
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from rapid import processes as processes_module
from rapid.events import Arm, Timer
from rapid.exchange import Program
from rapid.invocation import ExitStatus, Outcome
from rapid.settings import Settings
from rapid.shell import MOST_STORIES
from rapid.states import Phase, RuntimeCall
from rapid.supervisor import StartFailed, SupervisorLost

MB = 1024 * 1024
FRAMING = Program(argv=["/bootstrap"], env={}, cwd="/", log_fd=62)
FIRST, SECOND = 16, 32
"""The numbers of an environment's first runtime and of the one after it."""


class TestFreezing:
    """What a function does in its background stands still while nobody uses it."""

    async def test_idle(self, house: Any) -> None:
        """An idle environment is frozen a moment later."""
        await house.poll()
        await house.until(lambda: house.supervisor.calls[-1] == "freeze")
        assert house.supervisor.calls == ["start", "settle", "freeze"]
        assert "frozen" in repr(house.environment)

    async def test_thaw_before_the_event(self, house: Any) -> None:
        """A frozen environment is thawed before it gets its event, and frozen again after."""
        poll = await house.poll()
        await house.until(lambda: house.supervisor.calls[-1] == "freeze")
        house.invoke()
        assert house.supervisor.calls[-1] == "thaw"
        assert house.environment._poll._future is None
        await poll
        await house.respond()
        await house.poll()
        await house.until(lambda: house.supervisor.calls[-1] == "freeze")
        assert house.supervisor.calls == ["start", "settle", "freeze", "thaw", "settle", "freeze"]

    async def test_back_to_back(self, house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Invocations that follow each other at once meet no freeze at all."""
        monkeypatch.setattr(processes_module, "FREEZE_DELAY", 10.0)
        poll = await house.poll()
        for number in range(5):
            ticket = house.invoke(request_id=f"r{number}")
            await poll
            await house.respond(request_id=f"r{number}")
            poll = await house.poll()
            await ticket.completed
        assert house.supervisor.calls == ["start"] + ["settle"] * 6

    async def test_never_while_working(self, house: Any) -> None:
        """A freeze that was about to come does not hit the invocation that came first."""
        poll = await house.poll()
        house.invoke()
        assert house.environment._processes._freezing is None
        await poll
        assert "freeze" not in house.supervisor.calls

    async def test_switched_off(self, make_house: Callable[..., Any]) -> None:
        house = await make_house(freeze=False)
        house.environment.begin()
        await house.poll()
        assert house.environment._processes._freezing is None

    @pytest.mark.parametrize("end", ["exit", "shut down", "lost"])
    async def test_end_while_frozen(self, house: Any, end: str) -> None:
        """What ends is thawed first; nothing is frozen afterwards."""
        await house.poll()
        await house.until(lambda: house.supervisor.calls[-1] == "freeze")
        match end:
            case "exit":
                house.environment.exited(FIRST, ExitStatus(0))
            case "shut down":
                house.environment.shut_down()
            case "lost":
                house.environment.lost("gone")
        await house.until(lambda: house.idle == 2 or house.ended)
        assert house.supervisor.calls[3] == "thaw"
        assert house.environment._processes._freezing is None


class TestDeadlines:
    """One timer serves all invocations."""

    async def serve(self, house: Any, request_id: str, limit: float) -> None:
        """One invocation to its end."""
        house.invoke(request_id=request_id, timeout=limit)
        await house.until(lambda: house.environment._poll._future is None)
        await house.respond(request_id=request_id)
        await house.poll()

    async def test_kept(self, house: Any) -> None:
        """It is left running for the next invocation, and then looks again when that one's time comes."""
        await house.poll()
        await self.serve(house, "r1", 60)
        environment = house.environment
        timer, first = environment._timer, environment._timer_at
        ticket = house.invoke(request_id="r2", timeout=60)
        assert environment._timer is timer
        environment._look_at_timer()  # as if the first one's time had come
        assert environment._timer not in (None, timer)
        assert environment._timer_at > first
        assert not ticket.outcome.done()
        environment._look_at_timer()
        assert b"timed out after 60.00 seconds" in (await ticket.outcome).payload

    async def test_shorter(self, house: Any) -> None:
        """It is never later than what is armed."""
        await house.poll()
        await self.serve(house, "r1", 60)
        before = house.environment._timer_at
        ticket = house.invoke(request_id="r2", timeout=0.01)
        assert house.environment._timer_at < before
        assert b"timed out after 0.01 seconds" in (await ticket.outcome).payload

    async def test_nothing_armed(self, house: Any) -> None:
        """Between invocations nothing comes of it, and there is none once the environment has ended."""
        await house.poll()
        await self.serve(house, "r1", 60)
        house.environment._look_at_timer()
        assert (house.environment._timer, house.environment.phase) == (None, Phase.IDLE)
        house.invoke(request_id="r2", timeout=60)
        assert house.environment._timer is not None
        house.environment.lost("gone")
        assert house.environment._timer is None


class TestStories:
    async def test_illegal_calls(self, house: Any, caplog: pytest.LogCaptureFixture) -> None:
        """Each is logged with what came before it, until there are too many; the story has them all."""
        await house.delivered()
        for _ in range(MOST_STORIES + 2):
            assert (await house.init_error(b"{}")).status == 403
        told = [each.getMessage() for each in caplog.records if "refused a call" in each.getMessage()]
        assert len(told) == MOST_STORIES
        assert "Running to InitError; its story:" in told[0]
        assert "Began" in told[0]
        assert "InvokeArrived r1" in told[0]
        refused = [line for line in house.environment.story_lines() if "REFUSED" in line]
        assert len(refused) == MOST_STORIES + 2


class TestLog:
    async def test_order(self, house: Any) -> None:
        """All that an invocation writes stands between START and END, what comes last included."""
        house.environment.output(FIRST, 1, b"static\n")
        poll = await house.poll()
        house.supervisor.before_settled = [b"last words without an end"]
        ticket = house.invoke()
        await poll
        house.environment.output(FIRST, 1, b"one\ntw")
        house.environment.output(FIRST, 2, b"error\n")
        house.environment.output(FIRST, 1, b"o\rstill two\n")
        await house.respond()
        await house.poll()
        report = await ticket.completed
        kinds = [line.partition("RequestId")[0].strip() for line in house.log().splitlines()]
        first, *rest = house.lines
        assert first.startswith(b"INIT_START Runtime Version: python:3.11.v1\t")
        assert rest[:7] == [
            b"static\n",
            b"START RequestId: r1 Version: $LATEST\n",
            b"one\n",
            b"error\n",
            b"two\rstill two\n",
            b"last words without an end",
            b"END RequestId: r1\n",
        ]
        assert rest[7].startswith(b"REPORT RequestId: r1\tDuration: ")
        assert b"Max Memory Used: 30 MB\tInit Duration: " in rest[7]
        assert len(rest) == 8
        assert kinds[0].startswith("INIT_START")
        assert report.memory_used == 30
        assert ticket.tail.content() == b"".join(rest[1:])

    async def test_a_line_that_cannot_be_written(
        self, house: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It is missed, and said to be; the invocation comes to its end."""
        ticket = await house.delivered()

        def platform(*_: object) -> list[bytes]:
            raise ValueError("no such line")

        monkeypatch.setattr(house.environment._journal._format, "platform", platform)
        await house.respond(b"1")
        await house.poll()
        assert (await ticket.completed).status == "success"
        assert house.environment.phase is Phase.IDLE
        assert "no such line" in caplog.text
        assert "could not carry out Write(" in caplog.text

    async def test_tail(self, house: Any) -> None:
        """Of a long log the last 4 KB are kept, the report among them."""
        ticket = await house.delivered()
        for number in range(5000):
            house.environment.output(FIRST, 1, b"line %d\n" % number)
        await house.respond()
        await house.poll()
        await ticket.completed
        tail = ticket.tail.content()
        assert len(tail) == 4096
        assert b"line 4999\nEND RequestId: r1\nREPORT" in tail
        assert b"".join(house.lines).endswith(tail)

    async def test_between_invocations(self, house: Any) -> None:
        """What a background process writes is logged, and is in nobody's tail."""
        await house.poll()
        house.environment.output(FIRST, 1, b"background\n")
        ticket = house.invoke()
        assert house.lines[-2] == b"background\n"
        assert b"background" not in ticket.tail.content()

    async def test_memory(self, make_house: Callable[..., Any]) -> None:
        """200 MB of output, with and without line ends, take no memory to speak of."""
        house = await make_house()
        house.environment._journal._log = lambda _: None
        house.environment.begin()
        await house.delivered()
        chunks = [b"x" * 65_535 + b"\n", b"y" * 65_536, (b"z" * 99 + b"\n") * 655]
        tracemalloc.start()
        for _ in range(200 * MB // 65_536 // len(chunks)):
            for chunk in chunks:
                house.environment.output(FIRST, 1, chunk)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 4 * MB


class TestFrames:
    """The runtime's log events in frames, where its program has a descriptor for them."""

    @pytest.fixture
    async def house(self, make_house: Callable[..., Any]) -> Any:
        house = await make_house(program=FRAMING, json=True)
        house.environment.begin()
        await house.until(lambda: house.supervisor.starts)
        return house

    def frame(self, message: bytes, kind: int = 0xA55A0003) -> bytes:
        return struct.pack("!IIQ", kind, len(message), 0) + message

    async def test_descriptor(self, make_house: Callable[..., Any]) -> None:
        """The runtime gets it, extensions do not."""
        house = await make_house(program=FRAMING)
        house.supervisor.names = {f"{FRAMING.opt}/extensions": ["ext"]}
        house.environment.begin()
        await house.until(lambda: house.supervisor.starts)
        [extension] = house.supervisor.starts
        house.environment.register_extension("ext", [])
        await house.until(lambda: len(house.supervisor.starts) == 2)
        runtime = house.supervisor.starts[1]
        assert (extension.log_fd, runtime.log_fd) == (None, 62)

    async def test_open_files(self, make_house: Callable[..., Any]) -> None:
        """Their limit is that of the runtime and of extensions."""
        house = await make_house(program=replace(FRAMING, files=1024))
        house.supervisor.names = {f"{FRAMING.opt}/extensions": ["ext"]}
        house.environment.begin()
        await house.until(lambda: house.supervisor.starts)
        house.environment.register_extension("ext", [])
        await house.until(lambda: len(house.supervisor.starts) == 2)
        assert [start.files for start in house.supervisor.starts] == [1024, 1024]

    async def test_only_in_the_runtimes_stdout(self, house: Any) -> None:
        """Elsewhere the same bytes are lines of text."""
        data = self.frame(b"a\nb")
        house.lines.clear()
        for process, stream in ((FIRST, 1), (FIRST, 2), (FIRST + 1, 1)):
            house.environment.output(process, stream, data + b"\n")
        assert house.lines[0] == b"a\nb\n"
        assert house.lines[1] == b"\n"
        assert house.lines[2:] == [data[:17] + b"\n", b"b\n"] * 2

    async def test_threshold(self, house: Any) -> None:
        """In the JSON format a frame's level counts where its text says none, and its text where it does."""
        house.lines.clear()
        said = b'{"level": "ERROR", "message": "said"}'
        for message, level in ((b"kept", 3), (b"left out", 2), (said, 2), (b'{"level": "DEBUG"}', 5)):
            house.environment.output(FIRST, 1, self.frame(message, 0xA55A0002 | level << 2))
        assert house.lines == [b"kept\n", said + b"\n"]

    async def test_half_a_frame_at_the_end_of_an_invocation(self, house: Any) -> None:
        """A background thread may be writing it; it is whole in the next one, or text when its process has ended."""
        data = self.frame(b"a\nb")
        ticket = await house.delivered()
        house.supervisor.before_settled = [data[:10]]
        await house.respond()
        await house.poll()
        await ticket.completed
        house.lines.clear()
        house.environment.output(FIRST, 1, data[10:] + data[:18])
        assert house.lines == [b"a\nb\n"]
        house.environment.exited(FIRST, ExitStatus(0))
        assert house.lines[1:3] == [data[:18]]


class TestFaults:
    @pytest.mark.parametrize(
        ("stage", "error_type"),
        [
            ("exec", "Runtime.InvalidEntrypoint"),
            ("chdir", "Runtime.InvalidWorkingDir"),
            ("fork", "Runtime.InvalidTaskConfig"),
            ("something new", "Runtime.InvalidTaskConfig"),
        ],
    )
    async def test_not_started(self, make_house: Callable[..., Any], stage: str, error_type: str) -> None:
        """A runtime that cannot be started fails the initialisation, and then the invocation."""
        house = await make_house()
        house.supervisor.start_failure = StartFailed(stage, "fork/exec /bootstrap: no such file or directory")
        house.environment.begin()
        await house.until(lambda: house.idle)
        assert f"Phase: init\tStatus: error\tError Type: {error_type}\n" in house.log()
        outcome = await house.invoke().outcome
        assert outcome.payload.decode() == (
            f'{{"errorType":"{error_type}","errorMessage":"RequestId: r1 Error: '
            'fork/exec /bootstrap: no such file or directory"}'
        )

    async def test_exit(self, house: Any) -> None:
        """The client hears of the exit, the log says why, the next invocation meets a new process."""
        ticket = await house.delivered()
        house.environment.exited(FIRST, ExitStatus(-9, out_of_memory=True))
        assert b"signal: killed" in (await ticket.outcome).payload
        report = await ticket.completed
        assert report.error_type == "Runtime.OutOfMemory"
        again = house.invoke(request_id="r2")
        await house.until(lambda: house.supervisor.started == [FIRST, SECOND])
        assert (await house.next()).status == 200
        await house.respond(b"2", "r2")
        assert again.outcome.result().payload == b"2"

    async def test_an_exit_that_overtakes_the_answer(self, house: Any) -> None:
        """What the runtime had sent before it ended counts, though the word of its end came first."""
        ticket = await house.delivered()
        _, writer = await asyncio.open_connection("127.0.0.1", house.listener.port)
        head = b"POST /2018-06-01/runtime/invocation/r1/response HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
        writer.write(head + b"done")
        house.environment.exited(FIRST, ExitStatus(3))
        assert (await ticket.outcome).payload == b"done"
        assert (await ticket.completed).error_type == "Runtime.ExitError"
        writer.close()

    async def test_late_exit(self, house: Any) -> None:
        """The exit of an earlier process is not that of the present one."""
        house.environment.exited(FIRST, ExitStatus(1))
        await house.until(lambda: house.idle)
        ticket = house.invoke()
        await house.until(lambda: house.supervisor.started == [FIRST, SECOND])
        house.environment.exited(FIRST, ExitStatus(1))
        assert not ticket.outcome.done()

    async def test_init_limit(self, make_house: Callable[..., Any]) -> None:
        """An initialisation that takes too long ahead of any invocation is stopped, and may take longer inside one."""
        settings = Settings("$LATEST", 128, "v", "arn", init_limit=0.01)
        house = await make_house(settings=settings)
        house.environment.begin()
        await house.until(lambda: house.idle)
        assert "Phase: init\tStatus: timeout\n" in house.log()
        ticket = house.invoke(timeout=60)
        await house.next()
        await house.respond(b"1")
        assert ticket.outcome.result().payload == b"1"

    async def test_an_early_timer(self, house: Any) -> None:
        """The report of a timeout says at least the timeout, however the timer was rounded."""
        ticket = await house.delivered(timeout=60)
        current = house.environment._core._current
        house.environment._fire(Arm(Timer.INVOKE, current.deadline, 1))
        report = await ticket.completed
        assert (report.status, report.duration) == ("timeout", pytest.approx(60))

    async def test_killed_in_its_poll(self, make_house: Callable[..., Any]) -> None:
        """A runtime that waits when a fault ends everything is not told: it would complain in the log."""
        house = await make_house()
        house.supervisor.names = {"/opt/extensions": ["watcher"]}
        house.environment.begin()
        await house.until(lambda: house.supervisor.starts)
        extension = house.environment.register_extension("watcher", [])
        poll = await house.poll()
        house.environment.extension_next(extension.identifier, lambda: True)
        await house.until(lambda: house.environment.phase is Phase.IDLE)
        house.supervisor.hold = True
        [watcher] = [
            each.process for each in house.supervisor.starts if each.argv == ["/opt/extensions/watcher"]
        ]
        house.environment.exited(watcher, ExitStatus(7))
        assert house.environment.phase is Phase.CLEARING
        assert house.environment._poll._future is not None
        house.supervisor.held[0].set_result(1)
        await house.until(lambda: house.environment._poll._future is None)
        poll.cancel()

    async def test_invocation_while_clearing(self, house: Any) -> None:
        """An invocation that comes while a dead runtime's leftovers are killed waits for that."""
        await house.poll()
        house.supervisor.hold = True
        house.environment.exited(FIRST, ExitStatus(0))
        ticket = house.invoke()
        assert house.supervisor.started == [FIRST]
        house.supervisor.held[0].set_result(1)
        await house.until(lambda: house.supervisor.started == [FIRST, SECOND])
        house.supervisor.hold = False
        await house.next()
        await house.respond(b"1")
        assert ticket.outcome.result().payload == b"1"

    @pytest.mark.parametrize("how", ["lost", "shut down"])
    async def test_end_with_work(self, house: Any, how: str) -> None:
        """The client of an invocation under way hears of the end; the end is told once."""
        ticket = await house.delivered()
        if how == "lost":
            house.environment.lost("the sandbox hung up")
            house.environment.lost("again")
        else:
            house.environment.shut_down()
        await house.until(lambda: house.ended)
        assert b'"errorType":"Sandbox.Failure"' in ticket.outcome.result().payload
        assert (await ticket.completed).status == "error"
        house.environment.output(FIRST, 1, b"too late\n")
        house.environment.exited(FIRST, ExitStatus(0))
        house.environment.shut_down()
        assert house.ended == 1

    async def test_supervisor_gone(self, house: Any) -> None:
        """Answers that never come because the supervisor is gone are its loss to tell, not ours to guess."""
        ticket = await house.delivered()
        house.supervisor.hold = True
        await house.respond()
        await house.poll()
        house.supervisor.held[0].set_exception(SupervisorLost("gone"))
        house.environment.lost("gone")
        await asyncio.wait([ticket.completed])
        assert house.ended == 1

    async def test_client_left(self, house: Any) -> None:
        """A client that does not want its answer any more changes nothing."""
        ticket = await house.delivered()
        ticket.outcome.cancel()
        await house.respond()
        await house.poll()
        assert (await ticket.completed).status == "success"


@pytest.mark.parametrize(("events", "lingers"), [(["INVOKE"], True), (["SHUTDOWN"], False)])
async def test_lingering(make_house: Callable[..., Any], events: list[str], *, lingers: bool) -> None:
    """With the answer it is known whether extensions may still work on the invocation."""
    house = await make_house()
    house.supervisor.names = {"/opt/extensions": ["watcher"]}
    house.environment.begin()
    await house.until(lambda: house.supervisor.starts)
    extension = house.environment.register_extension("watcher", events)
    poll = await house.poll()
    house.environment.extension_next(extension.identifier, lambda: True)
    await house.until(lambda: house.environment.phase is Phase.IDLE)
    ticket = house.invoke()
    assert not ticket.lingers
    house.environment.begin_response("r1", RuntimeCall.RESPONSE)
    house.environment.end_response("r1", Outcome(b"1"))
    assert ticket.outcome.done()
    assert ticket.lingers is lingers
    poll.cancel()
