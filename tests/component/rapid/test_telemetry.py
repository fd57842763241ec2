"""Telemetry told to real listeners on this machine: to those that hear, and to those that do not."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from rapid import subscribers
from rapid.batches import ROOM, TOO_SLOW
from rapid.subscribers import TRIES
from rapid.subscriptions import Api, Buffering, HttpDestination, Subscription, TcpDestination
from rapid.telemetry import EARLY, Telemetry
from tests.helpers.listeners import OK, Dialler, Listener, status

SOON = Buffering(max_items=1000, max_bytes=262_144, timeout=0.025)
LATE = Buffering(timeout=30.0)
ALL = ("platform", "function", "extension")


class House:
    """Telemetry, and listeners to be had. Each happening has a time of its own, so that order can be seen."""

    def __init__(self, *, json: bool) -> None:
        self.dialler = Dialler()
        self.telemetry = Telemetry(self.dialler, json=json)  # type: ignore[arg-type]
        self.listeners: list[Listener] = []
        self._times: Iterator[int] = itertools.count(1)

    async def listener(
        self, *, http: bool = True, say: Callable[[int], bytes | None] = lambda _: OK
    ) -> Listener:
        made = Listener(say)
        await made.open(http=http)
        self.listeners.append(made)
        return made

    def subscribe(
        self,
        listener: Listener,
        name: str = "one",
        *,
        types: tuple[str, ...] = ALL,
        buffering: Buffering = SOON,
    ) -> None:
        destination = HttpDestination("sandbox.localdomain", listener.port, "/", "POST")
        subscription = Subscription(Api.TELEMETRY, "2022-07-01", types, destination, buffering)
        self.telemetry.subscribe(name, subscription)

    def subscribe_by_tcp(self, listener: Listener, buffering: Buffering = SOON) -> None:
        destination = TcpDestination(listener.port)
        subscription = Subscription(Api.TELEMETRY, "2022-07-01", ALL, destination, buffering)
        self.telemetry.subscribe("one", subscription)

    def line(self, text: str | bytes, kind: str = "function") -> None:
        line = text if isinstance(text, bytes) else text.encode()
        self.telemetry.line(kind, line, next(self._times))

    def platform(self, kind: str, **record: Any) -> None:
        self.telemetry.platform(f"platform.{kind}", record, next(self._times))

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)  # a turn of the loop, no time


@pytest.fixture
async def make_house() -> AsyncIterator[Callable[..., House]]:
    houses: list[House] = []

    def make(*, json: bool = False) -> House:
        houses.append(House(json=json))
        return houses[-1]

    yield make
    for house in houses:
        await house.telemetry.close()
        for tunnel in house.dialler.tunnels:
            tunnel.close()
        for listener in house.listeners:
            await listener.close()


@pytest.fixture
async def house(make_house: Callable[..., House]) -> House:
    return make_house()


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attempts follow each other quickly."""
    monkeypatch.setattr(subscribers, "FIRST_PAUSE", 0.001)


def records(events: list[Any]) -> list[Any]:
    return [event["record"] for event in events]


class TestHttp:
    async def test_a_request(self, house: House) -> None:
        """One request to the sandbox by name, an array of events in it."""
        listener = await house.listener()
        house.subscribe(listener)
        house.platform("start", requestId="r1")
        house.line("hello\n")
        house.line("hi\n", "extension")
        assert await listener.heard(3) == [
            {"time": "1970-01-01T00:00:01.000Z", "type": "platform.start", "record": {"requestId": "r1"}},
            {"time": "1970-01-01T00:00:02.000Z", "type": "function", "record": "hello\n"},
            {"time": "1970-01-01T00:00:03.000Z", "type": "extension", "record": "hi\n"},
        ]
        [request] = listener.requests
        assert request.line == "POST / HTTP/1.1"
        assert request.headers == {
            "Host": f"sandbox.localdomain:{listener.port}",
            "Content-Type": "application/json",
            "Connection": "close",
            "Content-Length": str(len(request.body)),
        }

    async def test_method_and_path(self, house: House) -> None:
        """As they were asked for."""
        listener = await house.listener()
        destination = HttpDestination("sandbox", listener.port, "/a?b=c", "PUT")
        house.telemetry.subscribe("one", Subscription(Api.TELEMETRY, "2022-07-01", ALL, destination, SOON))
        house.line("x")
        await listener.heard(1)
        assert listener.requests[0].line == "PUT /a?b=c HTTP/1.1"
        assert listener.requests[0].headers["Host"] == f"sandbox:{listener.port}"

    @pytest.mark.parametrize(
        "answer",
        [
            b"HTTP/1.0 200 OK\r\n\r\n",
            b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nyes",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nyes\r\n0\r\n\r\n",
            b"HTTP/1.1 200 OK\n\n",
            b"HTTP/1.1 200\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + bytes(1 << 18),
        ],
        ids=["1.0", "redirect", "no content", "continue", "chunked", "bare ends", "no reason", "endless"],
    )
    async def test_good_answers(self, house: House, answer: bytes) -> None:
        """Whatever says that the request was taken: nothing is sent twice."""
        listener = await house.listener(say=lambda _: answer)
        house.subscribe(listener)
        house.line("a")
        await listener.heard(1)
        await house.until(lambda: house.telemetry.is_delivered)
        house.line("b")
        assert records(await listener.heard(2)) == ["a", "b"]

    @pytest.mark.parametrize(
        "answer",
        [status(400), status(500), None, b"nonsense", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", bytes(1 << 18)],
        ids=["400", "500", "silence", "nonsense", "another protocol", "only continue", "zeros"],
    )  # fmt: skip
    async def test_other_answers(self, house: House, answer: bytes | None) -> None:
        """The same once more, until it is taken."""
        listener = await house.listener(say=lambda number: OK if number == TRIES else answer)
        house.subscribe(listener)
        house.line("a")
        await listener.until(lambda: len(listener.requests) == TRIES)
        await house.until(lambda: house.telemetry.is_delivered)
        assert {request.body for request in listener.requests} == {listener.requests[0].body}
        house.line("b")
        events = (await listener.heard(TRIES + 1))[TRIES:]
        assert records(events) == ["b"]

    async def test_an_answer_without_end(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """A listener that says yes and stays on the line is hung up on, and counts as having said yes."""
        monkeypatch.setattr("rapid.deliveries.POLITENESS", 0.01)
        listener = Listener()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"]")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            ended.append(await reader.read())
            writer.close()

        ended: list[bytes] = []
        async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            listener.port = server.sockets[0].getsockname()[1]
            house.subscribe(listener)
            house.line("a")
            await house.until(lambda: ended == [b""])
            await house.until(lambda: house.telemetry.is_delivered)
            assert house.dialler.dialled == [listener.port]


class TestTcp:
    async def test_lines(self, house: House) -> None:
        """One connection; each event is a line."""
        listener = await house.listener(http=False)
        house.subscribe_by_tcp(listener)
        house.line("a\n")
        await listener.heard(1)
        house.line("b\n")
        assert records(await listener.heard(2)) == ["a\n", "b\n"]
        assert listener.connections == 1

    async def test_a_new_connection(self, house: House) -> None:
        """Made when the listener has closed the one before."""
        listener = await house.listener(http=False)
        house.subscribe_by_tcp(listener)
        house.line("a")
        await listener.heard(1)
        listener.hang_up()
        await house.until(lambda: not house.dialler.tunnels[0].is_open)
        house.line("b")
        assert records(await listener.heard(2)) == ["a", "b"]
        assert listener.connections == 2

    async def test_a_listener_that_comes_late(self, house: House) -> None:
        """It is tried again until somebody listens."""
        listener = await house.listener(http=False)
        await listener.close()
        house.subscribe_by_tcp(listener)
        house.line("a")
        await house.until(lambda: len(house.dialler.dialled) == 2)
        await listener.open(http=False, port=listener.port)
        assert records(await listener.heard(1)) == ["a"]


class TestWhoHearsWhat:
    async def test_types(self, house: House) -> None:
        """Each subscriber hears what it subscribed to, and all in the order of events."""
        listeners = [await house.listener() for _ in range(3)]
        house.subscribe(listeners[0], "a", types=("platform",))
        house.subscribe(listeners[1], "b", types=("function", "extension"))
        house.subscribe(listeners[2], "c")
        for number in range(50):
            house.platform("start", n=number)
            house.line(f"{number}f")
            house.line(f"{number}e", "extension")
        assert records(await listeners[0].heard(50)) == [{"n": number} for number in range(50)]
        assert records(await listeners[1].heard(100)) == [f"{n}{kind}" for n in range(50) for kind in "fe"]
        times = [event["time"] for event in await listeners[2].heard(150)]
        assert times == sorted(times)

    async def test_early_events(self, house: House) -> None:
        """Who subscribes late hears of what came before, until subscriptions are closed."""
        house.platform("initStart", phase="init")
        house.line("loading")
        listener = await house.listener()
        house.subscribe(listener)
        house.line("loaded")
        assert records(await listener.heard(3)) == [{"phase": "init"}, "loading", "loaded"]
        house.telemetry.close_subscriptions()
        assert house.telemetry.listens
        house.line("later")
        assert records(await listener.heard(4))[3:] == ["later"]

    async def test_too_much_comes_early(self, house: House) -> None:
        """Of far too much only the beginning is kept, and it is said what is missing, to those who would have had it."""
        for _ in range(4):
            house.line(bytes(EARLY // 3))
        listeners = [await house.listener() for _ in range(2)]
        house.subscribe(listeners[0], "a")
        house.subscribe(listeners[1], "b", types=("platform", "extension"))
        house.platform("report")
        first, *_ = await listeners[0].heard(1)
        assert first["type"] == "platform.logsDropped"
        assert first["record"]["droppedRecords"] >= 2
        assert [event["type"] for event in await listeners[1].heard(1)] == ["platform.report"]

    async def test_nobody(self, house: House) -> None:
        """Where nobody has subscribed in time, nothing is told any more; after a reset somebody may again."""
        house.line("x")
        house.telemetry.close_subscriptions()
        assert not house.telemetry.listens
        house.telemetry.reset()
        assert house.telemetry.listens

    async def test_the_same_once_more(self, house: House) -> None:
        """A subscription that is there already is not doubled, and starts nothing anew."""
        listener = await house.listener()
        for _ in range(2):
            house.subscribe(listener)
        house.line("x")
        await listener.heard(1)
        house.subscribe(listener)
        house.line("y")
        assert records(await listener.heard(2)) == ["x", "y"]

    async def test_another_one(self, house: House) -> None:
        """It replaces the former, and is told everything."""
        former, later = await house.listener(), await house.listener()
        house.subscribe(former, types=("platform",))
        house.line("x")
        house.platform("start", requestId="r1")
        await former.heard(1)
        house.subscribe(later)
        house.platform("report", requestId="r1")
        events = await later.heard(3)
        assert records(events) == ["x", {"requestId": "r1"}, {"requestId": "r1"}]
        assert len(former.events) == 1
        assert house.telemetry.api_of("one") is Api.TELEMETRY
        assert house.telemetry.api_of("other") is None

    async def test_json_functions(self, make_house: Callable[..., House]) -> None:
        """Their objects are objects; and the Logs API has its own words."""
        house = make_house(json=True)
        listener = await house.listener()
        destination = HttpDestination("sandbox.localdomain", listener.port, "/", "POST")
        house.telemetry.subscribe("one", Subscription(Api.LOGS, "2020-08-15", ALL, destination, SOON))
        house.line('{"level":"INFO"}\n')
        house.platform("initStart")
        house.platform("report", requestId="r1", status="success", metrics={})
        kinds = [event["type"] for event in await listener.heard(3)]
        assert kinds == ["function", "platform.end", "platform.report"]
        assert listener.events[0]["record"] == {"level": "INFO"}
        assert house.telemetry.api_of("one") is Api.LOGS


class TestSlowListeners:
    async def flood(self, house: House, listener: Listener, count: int) -> None:
        """A line is on its way; then come far more than can wait behind it, then one more event."""
        listener.hold.clear()
        house.line("-1")
        await listener.heard(1)
        for number in range(count):
            house.line(f"{number}".ljust(1000))
        house.platform("report", requestId="r1")
        listener.hold.set()
        await house.until(lambda: house.telemetry.is_delivered)

    async def test_dropped_batches(self, house: House) -> None:
        """What cannot wait is dropped; how much that was is told, the rest comes in order."""
        listener = await house.listener()
        house.subscribe(listener)
        await self.flood(house, listener, 4500)
        dropped = [event["record"] for event in listener.events if event["type"] == "platform.logsDropped"]
        told = [int(event["record"]) for event in listener.events if event["type"] == "function"]
        assert told == sorted(set(told))
        assert told[0] == -1
        assert sum(record["droppedRecords"] for record in dropped) + len(told) == 4501
        assert all(record["reason"] == TOO_SLOW and record["droppedBytes"] > 1000 for record in dropped)
        assert ROOM - 262_144 * 2 < len(told) * 1000 < ROOM + 262_144 * 2
        assert listener.events[-1]["record"] == {"requestId": "r1"}
        assert max(len(request.body) for request in listener.requests) < 2 * 262_144

    async def test_a_burst(self, house: House) -> None:
        """What is not too much waits."""
        listener = await house.listener()
        house.subscribe(listener)
        await self.flood(house, listener, 1500)
        numbers = [int(event["record"]) for event in listener.events if event["type"] == "function"]
        assert numbers == list(range(-1, 1500))

    async def test_those_who_do_not_hear_of_the_platform(self, house: House) -> None:
        """They are not told."""
        listener = await house.listener()
        house.subscribe(listener, types=("function",))
        await self.flood(house, listener, 4500)
        assert {event["type"] for event in listener.events} == {"function"}
        assert len(listener.events) < 4501

    async def test_a_listener_that_is_gone(self, house: House) -> None:
        """After so many attempts the batch is dropped; when it is back it hears how much that was."""
        listener = await house.listener()
        await listener.close()
        house.subscribe(listener)
        house.line("lost")
        await house.until(lambda: len(house.dialler.dialled) == TRIES)
        await house.until(lambda: house.telemetry.is_delivered)
        await listener.open(http=True, port=listener.port)
        house.line("here")
        first, second = await listener.heard(2)
        assert (first["type"], first["record"]["droppedRecords"]) == ("platform.logsDropped", 1)
        assert second["record"] == "here"

    async def test_one_that_never_answers(self, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each attempt has its time."""
        monkeypatch.setattr(subscribers, "TRY_LIMIT", 0.01)
        listener = await house.listener()
        listener.hold.clear()
        house.subscribe(listener)
        house.line("x")
        await listener.until(lambda: len(listener.requests) == TRIES)
        await house.until(lambda: house.telemetry.is_delivered)
        assert house.dialler.dialled == [listener.port] * TRIES

    async def test_another_is_not_held_up(self, house: House) -> None:
        """Each subscriber has its own pace."""
        slow, quick = await house.listener(), await house.listener()
        slow.hold.clear()
        house.subscribe(slow, "slow")
        house.subscribe(quick, "quick")
        house.line("a")
        await slow.heard(1)
        await quick.heard(1)
        house.line("b")
        assert records(await quick.heard(2)) == ["a", "b"]
        assert records(slow.events) == ["a"]


class TestFreezing:
    async def test_nothing_while_frozen(self, make_house: Callable[..., House]) -> None:
        """What is due then waits for the thaw, and time does not pass, as it does for others."""
        house, other = make_house(), make_house()
        listener, awake = await house.listener(), await other.listener()
        house.subscribe(listener)
        other.subscribe(awake)
        house.telemetry.pause()
        for each in (house, other):
            each.line("x")
        await awake.heard(1)
        assert house.dialler.dialled == []
        house.telemetry.resume()
        assert records(await listener.heard(1)) == ["x"]

    async def test_an_attempt_s_time_stands_still(
        self, make_house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A listener that sleeps has not failed to answer; one that is awake has."""
        monkeypatch.setattr(subscribers, "TRY_LIMIT", 0.2)
        house, other = make_house(), make_house()
        listener, awake = await house.listener(), await other.listener()
        for each, its in ((house, listener), (other, awake)):
            its.hold.clear()
            each.subscribe(its)
            each.line("x")
        await listener.heard(1)
        house.telemetry.pause()
        await awake.heard(2)
        assert house.dialler.dialled == [listener.port]
        house.telemetry.resume()
        listener.hold.set()
        await house.until(lambda: house.telemetry.is_delivered)
        assert len(listener.requests) == 1

    async def test_a_full_batch_does_not_start(self, house: House) -> None:
        """Not even a batch that cannot grow is delivered."""
        listener = await house.listener()
        house.subscribe(listener, buffering=LATE)
        house.telemetry.pause()
        for _ in range(3):
            house.line(bytes(200_000))
        assert house.dialler.dialled == []
        house.telemetry.resume()
        await listener.heard(1)


class TestEnds:
    async def test_flush(self, house: House) -> None:
        """Everything goes out at once, and so does what comes later."""
        listener = await house.listener()
        house.subscribe(listener, buffering=LATE)
        house.line("a")
        house.telemetry.flush()
        await listener.heard(1)
        house.line("b")
        assert records(await listener.heard(2)) == ["a", "b"]
        await house.until(lambda: house.telemetry.is_delivered)

    async def test_reset(self, house: House) -> None:
        """Subscribers are gone with what they had not heard; what happens then is for the next."""
        former = await house.listener()
        former.hold.clear()
        house.subscribe(former)
        house.line("a")
        await former.heard(1)
        house.line("b")
        house.telemetry.reset()
        house.platform("report", requestId="r1")
        former.hold.set()
        later = await house.listener()
        house.subscribe(later)
        house.line("c")
        assert records(await later.heard(2)) == [{"requestId": "r1"}, "c"]
        assert records(former.events) == ["a"]

    async def test_close_in_the_middle(self, house: House) -> None:
        """Whatever is under way ends: dialling, an answer, a pause."""
        busy, gone = await house.listener(), await house.listener()
        await gone.close()
        busy.hold.clear()
        house.subscribe(busy, "busy")
        house.subscribe(gone, "gone")
        house.line("x")
        await busy.heard(1)
        await house.telemetry.close()
        assert not house.telemetry.listens
        assert not house.telemetry._ending

    async def test_a_failure_of_ours(self, house: House, caplog: pytest.LogCaptureFixture) -> None:
        """It is logged, and costs the batch."""
        listener = await house.listener()
        house.subscribe(listener)
        subscriber = house.telemetry._subscribers["one"]

        async def fail(_: object) -> None:
            raise RuntimeError("a mistake")

        good = subscriber._delivery.send
        subscriber._delivery.send = fail  # type: ignore[method-assign, assignment]
        house.line("x")
        await house.until(lambda: "a mistake" in caplog.text)
        subscriber._delivery.send = good  # type: ignore[method-assign]
        house.line("y")
        first, second = await listener.heard(2)
        assert (first["record"]["droppedRecords"], second["record"]) == (1, "y")
