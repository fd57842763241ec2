"""Links over real sockets: agents that behave, that do not, and strangers."""

import asyncio
import contextlib
import signal
import socket
import struct
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rapid import wire
from rapid.invocation import ExitStatus
from rapid.supervisor import StartFailed, SupervisorLost
from rapid.wire import Kind
from runtime import links
from runtime.links import Link, LinkServer


class Agent:
    """The sandbox's end of a link, said and heard word by word."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._frames = wire.Frames()
        self._heard: list[tuple[Kind, bytes]] = []

    def say(self, kind: Kind, payload: bytes = b"", **fields: Any) -> None:
        self.writer.write(wire.message(kind, **fields) if fields else wire.frame(kind, payload))

    async def hear(self, kind: Kind) -> bytes:
        while not self._heard:
            data = await self.reader.read(65536)
            assert data, "hung up on"
            self._heard += self._frames.feed(data)
        found, payload = self._heard.pop(0)
        assert found is kind
        return payload

    async def hung_up_on(self) -> None:
        try:
            while await self.reader.read(65536):
                pass
        except ConnectionError:
            pass
        await self.close()

    async def close(self) -> None:
        """Hang up, and see to it that the system has done so."""
        self.writer.transport.abort()  # what nobody has read would be waited for
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Observer:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.changed = asyncio.Event()

    def output(self, process: int, stream: int, data: bytes) -> None:
        self._see("output", process, stream, data)

    def exited(self, process: int, status: ExitStatus) -> None:
        self._see("exited", process, status)

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        self._see("lost", reason, out_of_memory)

    def _see(self, *what: Any) -> None:
        self.seen.append(what)
        self.changed.set()

    async def until(self, count: int) -> None:
        while len(self.seen) < count:
            self.changed.clear()
            await self.changed.wait()


class Server(LinkServer):
    """One that knows its links, to leave none behind."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[Link] = []

    def met(self, link: Link) -> None:
        self.links.append(link)
        super().met(link)


@pytest.fixture
async def server() -> AsyncIterator[LinkServer]:
    server = Server()
    await server.open("127.0.0.1")
    yield server
    await server.close()
    assert not server._nameless
    for link in server.links:
        link.cut("the test is over")


Dial = Callable[[], Any]


@pytest.fixture
async def dial(server: LinkServer) -> AsyncIterator[Dial]:
    agents: list[Agent] = []

    async def dial() -> Agent:
        agents.append(Agent(*await asyncio.open_connection("127.0.0.1", server.port)))
        return agents[-1]

    yield dial
    for agent in agents:
        await agent.close()


async def greeted(server: LinkServer, dial: Dial, name: str = "s1") -> tuple[Agent, Link, Observer]:
    expected = server.expect(name, "secret")
    agent = await dial()
    agent.say(Kind.HELLO, sandbox=name, token="secret")
    link = await expected
    link.observer = observer = Observer()
    return agent, link, observer


class TestHello:
    async def test_welcome(self, server: LinkServer, dial: Dial) -> None:
        """Whoever presents the token of an awaited sandbox is its agent."""
        _, link, _ = await greeted(server, dial)
        assert (link.sandbox_id, link.peer) == ("s1", "127.0.0.1")
        assert repr(link) == "<Link s1 from 127.0.0.1>"
        assert server._awaited == {}

    @pytest.mark.parametrize(
        "hello",
        [
            wire.message(Kind.HELLO, sandbox="s1", token="wrong"),
            wire.message(Kind.HELLO, sandbox="s1", token="\ud800"),
            wire.message(Kind.HELLO, sandbox="other", token="secret"),
            wire.message(Kind.HELLO, sandbox="s1"),
            wire.message(Kind.EXITED, process=1, status=0, out_of_memory=False),
            wire.frame(Kind.HELLO, b"[]"),
            wire.frame(Kind.HELLO, b"[" * 100_000),
            wire.frame(Kind.HELLO, b"\xff"),
            b"GET / HTTP/1.1\r\n\r\n",
            struct.pack("!IB", 5, 250) + b"12345",
            struct.pack("!IB", wire.MAX_PAYLOAD + 1, 1),
        ],
        ids=[
            "token",
            "surrogate",
            "sandbox",
            "no token",
            "kind",
            "list",
            "nesting",
            "bytes",
            "http",
            "unknown",
            "long",
        ],
    )
    async def test_stranger(
        self, server: LinkServer, dial: Dial, hello: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Anybody else is cut off, and the wait goes on."""
        expected = server.expect("s1", "secret")
        agent = await dial()
        agent.writer.write(hello)
        await agent.hung_up_on()
        assert not expected.done()
        assert [record.name for record in caplog.records] == ["runtime.links"]
        (await dial()).say(Kind.HELLO, sandbox="s1", token="secret")
        await expected

    async def test_strangers_cannot_fill_the_log(
        self, server: LinkServer, dial: Dial, caplog: pytest.LogCaptureFixture
    ) -> None:
        """However many dial in and talk nonsense, it is mentioned once a minute."""
        for _ in range(5):
            agent = await dial()
            agent.say(Kind.FREEZE)
            await agent.hung_up_on()
        assert len(caplog.records) == 1

    async def test_once(self, server: LinkServer, dial: Dial) -> None:
        """A token is good for one link."""
        _, link, _ = await greeted(server, dial)
        again = await dial()
        again.say(Kind.HELLO, sandbox="s1", token="secret")
        await again.hung_up_on()
        assert link.lost is None

    async def test_not_awaited_any_more(self, server: LinkServer, dial: Dial) -> None:
        """Who has stopped waiting gets nobody."""
        server.expect("s1", "secret").cancel()
        agent = await dial()
        agent.say(Kind.HELLO, sandbox="s1", token="secret")
        await agent.hung_up_on()
        assert server._awaited == {}

    async def test_silence(self, server: LinkServer, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who does not say hello in time is cut off."""
        monkeypatch.setattr(links, "HELLO_LIMIT", 0.01)
        await (await dial()).hung_up_on()

    async def test_crowd(self, server: LinkServer, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
        """Of too many silent strangers the oldest goes, so that agents still get through."""
        monkeypatch.setattr(links, "NAMELESS", 3)
        strangers = [await dial() for _ in range(4)]
        await strangers[0].hung_up_on()
        _, link, _ = await greeted(server, dial)
        assert link.lost is None

    async def test_hung_up_at_once(self, server: LinkServer, dial: Dial) -> None:
        """A connection that is reset before anybody looks at it disturbs nobody."""
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", server.port)) as stranger:
                stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await greeted(server, dial)

    async def test_close(self, server: LinkServer, dial: Dial) -> None:
        """With the server, who has not said hello goes; who has stays."""
        silent = await dial()
        _, link, _ = await greeted(server, dial)
        await server.close()
        await silent.hung_up_on()
        assert link.lost is None

    async def test_met_after_the_close(self, server: LinkServer) -> None:
        """Who was let in before the close, and is met only then, is cut off at once."""
        await server.close()
        loop = asyncio.get_running_loop()
        async with await loop.create_server(lambda: Link(server), "127.0.0.1", 0) as door:
            agent = Agent(*await asyncio.open_connection(*door.sockets[0].getsockname()))
            await agent.hung_up_on()
        assert not server._nameless


class TestAnswers:
    async def test_start(self, server: LinkServer, dial: Dial) -> None:
        """Each start gets its own answer."""
        agent, link, _ = await greeted(server, dial)
        first, second = (link.start(number, ["/b"], {"A": "1"}, "/", log_fd=9) for number in (1, 2))
        assert wire.fields(await agent.hear(Kind.START)) == {
            "process": 1, "argv": ["/b"], "env": {"A": "1"}, "cwd": "/", "log_fd": 9,
        }  # fmt: skip
        agent.say(Kind.NOT_STARTED, process=2, stage="chdir", error="chdir /: no such file or directory")
        with pytest.raises(StartFailed, match="chdir /: no such") as caught:
            await second
        assert caught.value.stage == "chdir"
        agent.say(Kind.STARTED, process=1, pid=7)
        await first

    async def test_settle_and_clear(self, server: LinkServer, dial: Dial) -> None:
        """Answers find their questions, in any order; output that came before is with the observer."""
        agent, link, observer = await greeted(server, dial)
        settled, cleared = link.settle(), link.clear()
        tokens = [await agent.hear(Kind.SETTLE), await agent.hear(Kind.CLEAR)]
        agent.say(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(1, 2) + b"text")
        agent.say(Kind.CLEARED, tokens[1] + struct.pack("!Q", 5))
        agent.say(Kind.SETTLED, tokens[0] + struct.pack("!Q", 4))
        assert (await cleared, await settled) == (5, 4)
        assert observer.seen == [("output", 1, 2, b"text")]
        agent.say(Kind.SETTLED, tokens[0] + struct.pack("!Q", 4))  # unasked for: no harm
        agent.say(Kind.EXITED, process=1, status=-9, out_of_memory=True)
        await observer.until(2)
        assert observer.seen[1] == ("exited", 1, ExitStatus(-9, out_of_memory=True))

    async def test_list(self, server: LinkServer, dial: Dial) -> None:
        """Listings find their questions by path, and of several about the same one in their order."""
        agent, link, _ = await greeted(server, dial)
        paths = ("/opt/extensions", "/opt", "/opt/extensions")
        first, other, second = (link.list(path) for path in paths)
        for path in paths:
            assert wire.fields(await agent.hear(Kind.LIST)) == {"path": path}
        agent.say(Kind.LISTED, path="/nowhere", names=["unasked for"])
        agent.say(Kind.LISTED, path="/opt/extensions", names=["a", "ü", "\udcff"])
        assert await first == ["a", "ü", "\udcff"]
        assert not second.done()
        agent.say(Kind.LISTED, path="/opt/extensions", names=["b"])
        agent.say(Kind.LISTED, path="/opt", names=[])
        assert (await second, await other) == (["b"], [])
        assert link._lists == {}
        assert link.lost is None

    async def test_cancelled_list(self, server: LinkServer, dial: Dial) -> None:
        """A listing that nobody waits for any more still takes its own answer, and not the next one's."""
        agent, link, _ = await greeted(server, dial)
        link.list("/opt").cancel()
        second = link.list("/opt")
        agent.say(Kind.LISTED, path="/opt", names=["first"])
        agent.say(Kind.LISTED, path="/opt", names=["second"])
        assert await second == ["second"]

    async def test_signal(self, server: LinkServer, dial: Dial) -> None:
        """A signal is told with the process that it is for; nothing comes back."""
        agent, link, _ = await greeted(server, dial)
        link.signal(17, signal.SIGTERM)
        assert wire.fields(await agent.hear(Kind.SIGNAL)) == {"process": 17, "number": 15}

    async def test_orders(self, server: LinkServer, dial: Dial) -> None:
        """What needs no answer is just said."""
        agent, link, _ = await greeted(server, dial)
        link.freeze()
        link.thaw()
        for kind in (Kind.FREEZE, Kind.THAW):
            assert await agent.hear(kind) == b""

    async def test_cancelled_question(self, server: LinkServer, dial: Dial) -> None:
        """An answer that nobody waits for any more is no error."""
        agent, link, _ = await greeted(server, dial)
        link.settle().cancel()
        agent.say(Kind.SETTLED, await agent.hear(Kind.SETTLE) + struct.pack("!Q", 4))
        link.start(1, [], {}, "").cancel()
        await agent.hear(Kind.START)
        agent.say(Kind.STARTED, process=1, pid=7)
        agent.say(Kind.SETTLED, (await self.asked(agent, link)) + struct.pack("!Q", 6))
        assert link.lost is None

    async def asked(self, agent: Agent, link: Link) -> bytes:
        link.settle()
        return await agent.hear(Kind.SETTLE)

    async def test_no_answer(self, server: LinkServer, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
        """An agent that does not answer in time is lost."""
        monkeypatch.setattr(links, "ANSWER_LIMIT", 0.01)
        agent, link, observer = await greeted(server, dial)
        with pytest.raises(SupervisorLost, match="did not answer"):
            await link.settle()
        await agent.hung_up_on()
        assert [seen[0] for seen in observer.seen] == ["lost"]

    async def test_no_list(self, server: LinkServer, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
        """An agent that leaves a listing unanswered is lost, though it settles."""
        monkeypatch.setattr(links, "ANSWER_LIMIT", 0.05)
        agent, link, _ = await greeted(server, dial)
        listing, settled = link.list("/opt"), link.settle()
        await agent.hear(Kind.LIST)
        agent.say(Kind.SETTLED, await agent.hear(Kind.SETTLE) + struct.pack("!Q", 4))
        assert await settled == 4
        with pytest.raises(SupervisorLost, match="did not answer"):
            await listing
        await agent.hung_up_on()

    @pytest.mark.parametrize(
        "words",
        [
            wire.frame(Kind.OUTPUT, b"\0"),
            wire.frame(Kind.SETTLED, b"\0"),
            wire.frame(Kind.EXITED, b"{}"),
            wire.message(Kind.EXITED, process=None, status=0, out_of_memory=False),
            wire.message(Kind.LISTED, path="/opt"),
            wire.message(Kind.LISTED, path="/opt", names=None),
            wire.message(Kind.LISTED, path="/opt", names="ab"),
            wire.message(Kind.START, process=1),
            wire.message(Kind.HELLO, sandbox="s1", token="secret"),
            b"\xff" * 100,
        ],
        ids=[
            "output",
            "settled",
            "exited",
            "process",
            "no names",
            "null names",
            "text as names",
            "order",
            "hello",
            "noise",
        ],
    )
    async def test_nonsense(self, server: LinkServer, dial: Dial, words: bytes) -> None:
        """An agent that talks nonsense is cut off; what was asked of it fails, and the loop hears of no error."""
        errors: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
        agent, link, observer = await greeted(server, dial)
        question = link.settle()
        agent.writer.write(words)
        with pytest.raises(SupervisorLost, match="broke the link's protocol"):
            await question
        await agent.hung_up_on()
        assert [seen[0] for seen in observer.seen] == ["lost"]
        assert errors == []


class TestLoss:
    async def test_everything_fails(self, server: LinkServer, dial: Dial) -> None:
        """When the sandbox hangs up, all that is open fails, once, and so does what is asked later."""
        agent, link, observer = await greeted(server, dial)
        open_questions: list[asyncio.Future[Any]] = [
            link.settle(),
            link.clear(),
            link.start(1, [], {}, ""),
            link.list("/opt"),
            link.list("/opt"),
        ]
        for kind in (Kind.SETTLE, Kind.CLEAR, Kind.START, Kind.LIST, Kind.LIST):
            await agent.hear(kind)
        agent.writer.close()
        for question in open_questions:
            with pytest.raises(SupervisorLost, match="hung up"):
                await question
        later: list[asyncio.Future[Any]] = [link.settle(), link.start(2, [], {}, ""), link.list("/opt")]
        for question in later:
            with pytest.raises(SupervisorLost, match="hung up"):
                await question
        link.freeze()
        link.signal(1, signal.SIGTERM)
        link.cut("again")
        assert observer.seen == [("lost", "the sandbox hung up", False)]

    async def test_cut(self, server: LinkServer, dial: Dial) -> None:
        """Cutting tells the observer why, whether the kernel had to kill for memory included."""
        agent, link, observer = await greeted(server, dial)
        link.cut("out of memory", out_of_memory=True)
        await agent.hung_up_on()
        assert observer.seen == [("lost", "out of memory", True)]

    async def test_words_before_the_end(self, server: LinkServer, dial: Dial) -> None:
        """What was said before hanging up is heard first."""
        agent, _, observer = await greeted(server, dial)
        agent.say(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(1, 1) + b"last words\n")
        agent.say(Kind.EXITED, process=1, status=0, out_of_memory=False)
        agent.writer.close()
        await observer.until(3)
        assert [seen[0] for seen in observer.seen] == ["output", "exited", "lost"]


CONTENT = bytes(range(256)) * 4096 * 16
"""16 MB: more than any buffer on the way."""


async def stuck(link: Link) -> None:
    """Until nobody reads and all buffers are full."""
    while link._writable.is_set():  # noqa: ASYNC110
        await asyncio.sleep(0)  # a turn of the loop, no time


class TestDeliver:
    @pytest.fixture
    def archive(self, tmp_path: Path) -> Path:
        path = tmp_path / "tree.tar"
        path.write_bytes(CONTENT)
        return path

    async def test_whole(self, server: LinkServer, dial: Dial, archive: Path) -> None:
        """The archive arrives as it is, in pieces, and no faster than it is read."""
        agent, link, _ = await greeted(server, dial)
        delivery = asyncio.create_task(link.deliver("/var/task", archive))
        assert wire.fields(await agent.hear(Kind.TREE)) == {"path": "/var/task"}
        await stuck(link)
        assert link._transport is not None
        assert link._transport.get_write_buffer_size() < 1 << 20
        received = b""
        while len(received) < len(CONTENT):
            piece = await agent.hear(Kind.TREE_DATA)
            assert len(piece) <= wire.CHUNK
            received += piece
        assert received == CONTENT
        await agent.hear(Kind.TREE_END)
        assert not delivery.done()
        agent.say(Kind.TREE_DONE, path="/var/task", error=None)
        await delivery

    async def test_refused(self, server: LinkServer, dial: Dial, tmp_path: Path) -> None:
        """A sandbox that cannot unpack says why."""
        (tmp_path / "t").write_bytes(b"")
        agent, link, _ = await greeted(server, dial)
        delivery = asyncio.create_task(link.deliver("/opt", tmp_path / "t"))
        await agent.hear(Kind.TREE)
        await agent.hear(Kind.TREE_END)
        agent.say(Kind.TREE_DONE, path="/opt", error="No space left on device")
        with pytest.raises(OSError, match="unpacking /opt in the sandbox: No space left on device"):
            await delivery

    @pytest.mark.parametrize("when", ["before", "within"])
    async def test_loss(self, server: LinkServer, dial: Dial, archive: Path, when: str) -> None:
        """A sandbox that goes takes the delivery with it, though it was waiting for a full buffer to empty."""
        agent, link, _ = await greeted(server, dial)
        if when == "before":
            link.cut("gone")
        delivery = asyncio.create_task(link.deliver("/var/task", archive))
        if when == "within":
            await agent.hear(Kind.TREE)
            await stuck(link)
            link.cut("gone")
        with pytest.raises(SupervisorLost, match="gone"):
            await delivery

    async def test_cancelled(self, server: LinkServer, dial: Dial, archive: Path) -> None:
        """A delivery that nobody wants any more stops, and closes its file."""
        agent, link, _ = await greeted(server, dial)
        delivery = asyncio.create_task(link.deliver("/var/task", archive))
        await agent.hear(Kind.TREE)
        delivery.cancel()
        await asyncio.wait([delivery])
        assert delivery.cancelled()
        link.cut("no use")


class TestFairness:
    """A function that writes without end keeps neither the loop nor its neighbours busy."""

    @pytest.fixture(autouse=True)
    def no_slice(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rest after each piece, however quick this machine is."""
        monkeypatch.setattr(links, "SLICE", 0.0)

    async def test_others_have_their_turn(self, server: LinkServer, dial: Dial) -> None:
        """A flood of one sandbox does not hold up a word of another, and arrives whole and in order."""
        loud, _, heard_loud = await greeted(server, dial, "loud")
        quiet, _, heard_quiet = await greeted(server, dial, "quiet")
        flood = [bytes([number]) * wire.CHUNK for number in range(8)]
        for data in flood:
            loud.say(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(1, 1) + data)
        loud.say(Kind.EXITED, process=1, status=0, out_of_memory=False)
        quiet.say(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(1, 2) + b"me too")
        await heard_quiet.until(1)
        assert len(heard_loud.seen) < 8 * wire.CHUNK / links.PIECE
        while heard_loud.seen[-1][0] != "exited":
            await heard_loud.until(len(heard_loud.seen) + 1)
        *said, _ = heard_loud.seen
        assert b"".join(data for *_, data in said) == b"".join(flood)
        assert max(len(data) for *_, data in said) <= links.PIECE

    async def test_a_reader_that_has_enough(
        self, server: LinkServer, dial: Dial, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Output waits in the system, and at last in the function, until its reader wants more."""
        agent, link, observer = await greeted(server, dial)
        link.has_enough = lambda: bool(observer.seen) and not wants.is_set()
        wants, asked = asyncio.Event(), asyncio.Event()
        rested = link._rested

        def resting() -> None:
            asked.set()
            rested()

        monkeypatch.setattr(link, "_rested", resting)
        flood = bytes(4 << 20)
        for start in range(0, len(flood), wire.CHUNK):
            agent.say(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(1, 1) + flood[start : start + wire.CHUNK])
        agent.say(Kind.EXITED, process=1, status=0, out_of_memory=False)
        for _ in range(3):
            asked.clear()
            await asked.wait()
        before = len(observer.seen)
        assert agent.writer.transport.get_write_buffer_size() > 0
        wants.set()
        while observer.seen[-1][0] != "exited":
            await observer.until(len(observer.seen) + 1)
        assert before * links.PIECE < len(flood) / 2
        assert sum(len(data) for kind, *_, data in observer.seen if kind == "output") == len(flood)

    async def test_a_reader_that_never_wants_more(
        self, server: LinkServer, dial: Dial, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Patience has an end: the agent's other words must be heard."""
        monkeypatch.setattr(links, "PATIENCE", 0.0)
        agent, link, observer = await greeted(server, dial)
        link.has_enough = lambda: True
        agent.say(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(1, 1) + bytes(wire.CHUNK))
        agent.say(Kind.EXITED, process=1, status=0, out_of_memory=False)
        while not observer.seen or observer.seen[-1][0] != "exited":
            await observer.until(len(observer.seen) + 1)

    async def test_last_words(self, server: LinkServer, dial: Dial) -> None:
        """What was said before the end of the link is heard before the end is told."""
        agent, _, observer = await greeted(server, dial)
        agent.say(Kind.OUTPUT, wire.OUTPUT_HEADER.pack(1, 1) + bytes(wire.CHUNK))
        agent.say(Kind.EXITED, process=1, status=0, out_of_memory=False)
        agent.writer.close()
        await observer.until(1)
        while observer.seen[-1][0] != "lost":
            await observer.until(len(observer.seen) + 1)
        assert observer.seen[-2][0] == "exited"
        assert sum(len(data) for kind, *_, data in observer.seen if kind == "output") == wire.CHUNK

    async def test_little_is_left_unread(self, server: LinkServer) -> None:
        """What a flood leaves in the system's buffers is worked off after its end, so they are kept small."""
        assert server._server is not None
        [door] = server._server.sockets
        held = door.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        assert links.UNREAD <= held <= 2 * links.UNREAD  # Linux doubles what it is asked for
