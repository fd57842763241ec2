"""The shorter way for plain invocations answers as the long one does, and leaves to that what is not plain."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rapid.plain_connections import PlainConnection
from rapid.plain_requests import PlainHead
from rapid.shorter_way import Peer
from runtime.api.shortcut import InvokeShortcut
from runtime.invoker import InvokeRequest, Told

PATH = "/2015-03-31/functions/f/invocations"
ARN = "arn:aws:lambda:us-east-1:123456789012:function:f"
CHANGING = (b"x-amzn-requestid", b"date")
"""Headers whose values are never the same."""


def request(
    body: bytes = b"{}", *fields: str, target: str = PATH, method: str = "POST", version: str = "1.1"
) -> bytes:
    lines = [
        f"{method} {target} HTTP/{version}",
        "Host: localhost",
        *fields,
        f"Content-Length: {len(body)}",
        "",
        "",
    ]
    return "\r\n".join(lines).encode() + body


@dataclass
class Answer:
    """One response: status line, headers as they were sent, body."""

    line: bytes
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def status(self) -> int:
        return int(self.line.split()[1])

    @property
    def request_id(self) -> bytes:
        return dict(self.headers).get(b"x-amzn-RequestId", b"-")

    def comparable(self) -> object:
        """All that must be the same, the order included; the request's own identifier is only there."""
        headers = [
            (name, b"" if name.lower() in CHANGING else self._without_id(name, value))
            for name, value in self.headers
            if name.lower() != b"content-length"
        ]
        return self.line, headers, self.body.replace(self.request_id, b"")

    def _without_id(self, name: bytes, value: bytes) -> bytes:
        shown = base64.b64decode(value) if name == b"X-Amz-Log-Result" else value
        return shown.replace(self.request_id, b"")


@dataclass
class Client:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, sent: bytes) -> Answer:
        self.writer.write(sent)
        return await self.answer(has_body=not sent.startswith(b"HEAD"))

    async def answer(self, *, has_body: bool = True) -> Answer:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            line, *rest = head[:-4].split(b"\r\n")
            pairs = [each.split(b": ", 1) for each in rest]
            headers = [(name, value) for name, value in pairs]
            length = int(dict(headers).get(b"Content-Length", b"0")) if has_body else 0
            return Answer(line, headers, await self.reader.readexactly(length))

    async def at_end(self) -> bytes:
        async with asyncio.timeout(10):
            return await self.reader.read()


@dataclass
class Doors:
    """The same API twice: with the shorter way, and without."""

    door: Any
    short: web.Server
    ports: dict[str, int]
    taken: list[bytes] = field(default_factory=list)
    #: Request lines of what went the shorter way.

    @asynccontextmanager
    async def client(self, way: str = "short") -> AsyncIterator[Client]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[way])
        try:
            yield Client(reader, writer)
        finally:
            writer.close()

    async def ask(self, sent: bytes, way: str = "short") -> Answer:
        async with self.client(way) as client:
            return await client.ask(sent)

    async def both(self, sent: bytes) -> tuple[Answer, Answer]:
        return await self.ask(sent), await self.ask(sent, "long")

    @property
    def connection(self) -> PlainConnection:
        [connection] = self.short.connections
        assert isinstance(connection, PlainConnection)
        return connection


@pytest.fixture
async def doors(door: Any, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Doors]:
    """With a function `f` that is there."""
    await door.created()
    servers = {"short": door.api.server(), "long": door.api.server()}
    servers["long"].shortcut = None
    loop = asyncio.get_running_loop()
    listeners = {way: await loop.create_server(server, "127.0.0.1", 0) for way, server in servers.items()}
    ports = {way: listener.sockets[0].getsockname()[1] for way, listener in listeners.items()}
    made = Doors(door, servers["short"], ports)
    take = InvokeShortcut.take

    def noted(self: InvokeShortcut, head: PlainHead, body: bytes, peer: Peer) -> bool:
        if is_taken := take(self, head, body, peer):
            made.taken.append(head.line)
        return is_taken

    monkeypatch.setattr(InvokeShortcut, "take", noted)
    yield made
    for way, listener in listeners.items():
        listener.close()
        servers[way].pre_shutdown()
        await servers[way].shutdown(1)


def context_of(value: Any) -> str:
    return base64.b64encode(json.dumps(value).encode()).decode()


TAKEN = {
    "plain": request(b'{"a": 1}'),
    "no body": request(b""),
    "bad JSON": request(b"{"),
    "no UTF-8": request(b'"\xff"'),
    "qualifier": request(target=f"{PATH}?Qualifier=$LATEST"),
    "encoded qualifier": request(target=f"{PATH}?Qualifier=%24LATEST"),
    "a version that is not there": request(target=f"{PATH}?Qualifier=7"),
    "an alias that is not there": request(target=f"{PATH}?Qualifier=live"),
    "slash": request(target=f"{PATH}/"),
    "encoded name": request(target="/2015-03-31/functions/%66%3A%24LATEST/invocations"),
    "half an escape": request(target="/2015-03-31/functions/%/invocations"),
    "no name": request(target="/2015-03-31/functions/%ff/invocations"),
    "ARN": request(target=f"/2015-03-31/functions/{ARN}/invocations"),
    "encoded ARN": request(target=f"/2015-03-31/functions/{quote(ARN, safe='')}/invocations"),
    "ARN of another region": request(
        target=f"/2015-03-31/functions/{ARN.replace('us-', 'eu-')}/invocations"
    ),
    "partial ARN": request(target="/2015-03-31/functions/123456789012:f/invocations"),
    "two qualifiers": request(target="/2015-03-31/functions/f:1/invocations?Qualifier=2"),
    "missing function": request(target="/2015-03-31/functions/g/invocations"),
    "missing function, bad event": request(b"{", target="/2015-03-31/functions/g/invocations"),
    "context": request(b"1", f"X-Amz-Client-Context: {context_of({'a': 1})}"),
    "bad context": request(b"1", "X-Amz-Client-Context: no"),
    "trace": request(b"1", "X-Amzn-Trace-Id: Root=1-5759e988-bd862e3fe1be46a994272793"),
    "type": request(b"1", "Content-Type: text/x", "x-amz-invocation-type: RequestResponse"),
    "tenant": request(b"1", "X-Amz-Tenant-Id: blue"),
    "bad tenant": request(b"1", "X-Amz-Tenant-Id: a;b"),
    "tail": request(b"1", "X-Amz-Log-Type: Tail"),
    "bad log type": request(b"1", "X-Amz-Log-Type: All"),
    "durable": request(b"1", "X-Amz-Durable-Execution-Name: x"),
    "browser": request(b"1", "Origin: https://example.com"),
    "rebound name": request().replace(b"localhost", b"evil.example"),
    "region": request(b"1", "Authorization: AWS4-HMAC-SHA256 Credential=k/20260101/eu-west-1/lambda/aws4_request"),
    "account": request(b"1", "Authorization: AWS4-HMAC-SHA256 Credential=210987654321/20260101/us-east-1/lambda/x"),
}  # fmt: skip


@pytest.mark.parametrize("sent", TAKEN.values(), ids=TAKEN.keys())
async def test_both_ways(doors: Doors, sent: bytes) -> None:
    """Status, headers in their order and body; and what the invoker gets."""
    short, long = await doors.both(sent)
    assert short.comparable() == long.comparable()
    assert len(short.request_id) == 36
    assert len(doors.taken) == 1
    requests = [replace(each, request_id="") for each in doors.door.invoker.requests]
    assert requests in ([], requests[:1] * 2)


LONG_ONLY = {
    "version 1.0": request(version="1.0"),
    "close": request(b"{}", "Connection: close"),
    "PUT": request(method="PUT"),
    "GET": request(method="GET"),
    "HEAD": request(method="HEAD"),
    "Event": request(b"{}", "X-Amz-Invocation-Type: Event"),
    "DryRun": request(b"{}", "X-Amz-Invocation-Type: DryRun"),
    "some type": request(b"{}", "X-Amz-Invocation-Type: Later"),
    "other query": request(target=f"{PATH}?a=b"),
    "two members in the query": request(target=f"{PATH}?Qualifier=1&Qualifier=2"),
    "strange qualifier": request(target=f"{PATH}?Qualifier=a%20b"),
    "proxy": request(target=f"http://localhost{PATH}"),
    "streaming": request(target="/2021-11-15/functions/f/response-streaming-invocations"),
    "another operation": request(target="/2015-03-31/functions/f"),
    "chunked": request().replace(b"Content-Length: 2\r\n\r\n{}", b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"),
    "two lengths": request().replace(b"Content-Length: 2\r\n", b"Content-Length: 2\r\nContent-Length: 2\r\n"),
    "two hosts": request(b"{}", "Host: other"),
    "no host": request().replace(b"Host: localhost\r\n", b""),
    "a field twice": request(b"{}", "X-Amz-Log-Type: Tail", "X-Amz-Log-Type: None"),
    "not ASCII": request(b"{}", "X-Amzn-Trace-Id: é"),
    "tab": request(b"{}", "X-Amz-Log-Type: \tTail"),
    "long head": request(b"{}", f"X-Amz-Client-Context: {context_of({'a': 'x' * 2670})}", "A: " + "a" * 700),
    "encoding": request(b"{}", "Content-Encoding: gzip"),
    "no field": request(b"{}", "nothing"),
    "large": request(b'"' + b"x" * 1_000_000 + b'"'),
    "too large": request(b'"' + b"x" * 6_291_456 + b'"'),
}  # fmt: skip


@pytest.mark.parametrize("sent", LONG_ONLY.values(), ids=LONG_ONLY.keys())
async def test_what_is_not_taken(doors: Doors, sent: bytes) -> None:
    """It is answered as it would be without a shorter way, for that is where it goes."""
    async with doors.client() as client:
        short = await client.ask(sent)
    async with doors.client("long") as client:
        long = await client.ask(sent)
    assert short.comparable() == long.comparable()
    assert doors.taken == []


NAMES = (
    "f",
    "g",
    "f:1",
    "f%3A%24LATEST",
    "F",
    "a.b",
    "%66",
    "%",
    "%ff",
    "x" * 65,
    "x" * 200,
    ARN,
    f"{ARN}:live",
)
FIELDS = {
    "X-Amz-Invocation-Type": ("RequestResponse", "requestresponse", "DryRun", "Event", ""),
    "X-Amz-Log-Type": ("Tail", "None", "tail", ""),
    "X-Amz-Tenant-Id": ("t", "a b", "a,b", ""),
    "X-Amz-Client-Context": (context_of({}), context_of([]), "e30", "e30=", "é", ""),
    "X-Amzn-Trace-Id": ("Root=1-2-3", "é", "", "  padded  "),
    "Content-Type": ("application/json", "text/plain; charset=x", ""),
    "Origin": ("null",),
    "Host": ("localhost:3001", "127.0.0.1", "[::1]:80", "evil.example:80", "a.localhost", ""),
    "Authorization": ("Credential=111122223333/2/eu-west-1/lambda/a", "Credential=", "Basic x", "Credential=k/2/us-east-1"),
    "Connection": ("keep-alive", "Keep-Alive", "close"),
    "Accept": ("*/*", "a\tb", "\x01", ""),
    "X-Amz-Durable-Execution-Name": ("d",),
    "X Y": ("1",),
}  # fmt: skip
BODIES = (b"", b"{}", b"[1, 2]", b"{", b"\xff", b"NaN", b"\xef\xbb\xbf{}", b'"\\ud800"', b"1 2", b"9" * 400)
QUERIES = (
    "",
    "?",
    "?Qualifier=$LATEST",
    "?Qualifier=1",
    "?Qualifier=",
    "?Qualifier=a.b",
    "?qualifier=1",
    "?a",
    "/",
    "//",
)


@dataclass(frozen=True)
class Sent:
    """A request that is put together of odd parts."""

    method: str
    name: str
    query: str
    fields: dict[str, str]
    casing: Callable[[str], str]
    body: bytes

    def bytes(self) -> bytes:
        fields = {"Host": "localhost", **self.fields, "Content-Length": str(len(self.body))}
        lines = [f"{self.casing(name)}: {value}\r\n" for name, value in fields.items()]
        target = f"/2015-03-31/functions/{self.name}/invocations{self.query}"
        return f"{self.method} {target} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + self.body


sents = st.builds(
    Sent,
    method=st.sampled_from(("POST",) * 6 + ("GET",)),
    name=st.sampled_from(("f",) * 6 + NAMES),
    query=st.sampled_from(("",) * 6 + QUERIES),
    fields=st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(values) for name, values in FIELDS.items()}
    ).flatmap(lambda all_: st.sets(st.sampled_from(sorted(all_) or ["-"]), max_size=3).map(
        lambda kept: {name: all_[name] for name in kept if name in all_}
    )),
    casing=st.sampled_from((str, str.lower, str.upper)),
    body=st.sampled_from(BODIES),
)  # fmt: skip


async def test_any_request_either_way(doors: Doors) -> None:
    """Whatever a request is put together of, nobody can tell which way it went; many go the shorter one."""
    loop = asyncio.get_running_loop()

    @settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(sents)
    def compare(sent: Sent) -> None:
        doors.door.invoker.requests.clear()
        short, long = asyncio.run_coroutine_threadsafe(doors.both(sent.bytes()), loop).result()
        assert short.comparable() == long.comparable()
        requests = [replace(each, request_id="") for each in doors.door.invoker.requests]
        assert requests in ([], requests[:1] * 2)

    await doors.door.aside(compare)
    assert len(doors.taken) > 100


class TestConnection:
    """What becomes of a connection that invocations come over."""

    async def test_kept(self, doors: Doors) -> None:
        """One request after the other, either way."""
        sent = (request(b"1"), LONG_ONLY["PUT"], request(b"2"), LONG_ONLY["large"], request(b"3"))
        async with doors.client() as client:
            answers = [await client.ask(each) for each in sent]
        assert [each.status for each in answers] == [200, 404, 200, 200, 200]
        assert [answers[number].body for number in (0, 2, 4)] == [b"1", b"2", b"3"]
        assert len(doors.taken) == 3

    @pytest.mark.parametrize("at", [1, 40, -3, -1])
    async def test_split(self, doors: Doors, at: int) -> None:
        """What comes in pieces goes the long way."""
        sent = request(b"12345")
        async with doors.client() as client:
            client.writer.write(sent[:at])
            await until(lambda: bool(doors.short.connections))
            await until(lambda: doors.connection._missing != 0)
            assert (await client.ask(sent[at:])).body == b"12345"
        assert doors.taken == []

    async def test_several_at_once(self, doors: Doors) -> None:
        """Requests in one piece are answered in their order."""
        async with doors.client() as client:
            client.writer.write(request(b"1") + request(b"2") + request(b"3"))
            assert [(await client.answer()).body for _ in range(3)] == [b"1", b"2", b"3"]

    async def test_more_before_the_answer(self, doors: Doors) -> None:
        """It is read when the answer is there."""
        invoker = doors.door.invoker
        invoker.finish.clear()
        async with doors.client() as client:
            client.writer.write(request(b"1"))
            await asyncio.wait_for(invoker.started.wait(), 10)
            client.writer.write(request(b"2"))
            await until(lambda: bool(doors.connection._held))
            assert len(invoker.requests) == 1
            invoker.finish.set()
            assert [(await client.answer()).body for _ in range(2)] == [b"1", b"2"]
        assert len(doors.taken) == 2

    @pytest.mark.parametrize(
        "leave", [lambda writer: writer.transport.abort(), lambda writer: writer.write_eof()]
    )
    async def test_left_before_the_answer(
        self, doors: Doors, caplog: Any, leave: Callable[[asyncio.StreamWriter], None]
    ) -> None:
        """The function goes on to its end, and nothing is said of it."""
        invoker = doors.door.invoker
        invoker.finish.clear()
        async with doors.client() as client:
            client.writer.write(request())
            await asyncio.wait_for(invoker.started.wait(), 10)
            leave(client.writer)
            await until(lambda: not doors.short.connections)
            invoker.finish.set()
            await asyncio.wait_for(invoker.finished.wait(), 10)
            await until(lambda: not invoker.calls)
        assert len(doors.taken) == 1
        assert not caplog.records

    async def test_a_long_wait(self, doors: Doors) -> None:
        """A connection is not given up while an invocation lasts, and is given up when nothing comes after it."""
        invoker = doors.door.invoker
        invoker.finish.clear()
        async with doors.client() as client:
            client.writer.write(request(b"1"))
            await asyncio.wait_for(invoker.started.wait(), 10)
            connection = doors.connection
            connection._next_keepalive_close_time = 0.0
            connection._process_keepalive()
            invoker.finish.set()
            assert (await client.answer()).body == b"1"
            connection._next_keepalive_close_time = 0.0
            connection._process_keepalive()
            assert await client.at_end() == b""

    async def test_an_answer_while_it_closes(self, doors: Doors) -> None:
        """A door that closes lets what is under way have its answer; nothing else is begun."""
        invoker = doors.door.invoker
        invoker.finish.clear()
        async with doors.client() as client:
            client.writer.write(request(b"1"))
            await asyncio.wait_for(invoker.started.wait(), 10)
            doors.short.pre_shutdown()
            closing = asyncio.create_task(doors.short.shutdown(30))
            await until(lambda: doors.connection._answered is not None)
            client.writer.write(request(b"2"))
            await until(lambda: bool(doors.connection._held))
            invoker.finish.set()
            assert (await client.answer()).body == b"1"
            assert await client.at_end() == b""
            await asyncio.wait_for(closing, 10)
        assert len(invoker.requests) == 1

    async def test_no_answer_before_it_closes(self, doors: Doors) -> None:
        """The time for that is bounded."""
        invoker = doors.door.invoker
        invoker.finish.clear()
        async with doors.client() as client:
            client.writer.write(request(b"1"))
            await asyncio.wait_for(invoker.started.wait(), 10)
            await doors.short.shutdown(0.01)
            assert await client.at_end() == b""
        invoker.finish.set()
        await until(lambda: not invoker.calls)

    async def test_left_while_it_closes(self, doors: Doors) -> None:
        """Nobody is waited for who has left."""
        invoker = doors.door.invoker
        invoker.finish.clear()
        async with doors.client() as client:
            client.writer.write(request(b"1"))
            await asyncio.wait_for(invoker.started.wait(), 10)
            closing = asyncio.create_task(doors.short.shutdown(300))
            await until(lambda: doors.connection._answered is not None)
            client.writer.transport.abort()
            await asyncio.wait_for(closing, 10)
        invoker.finish.set()
        await until(lambda: not invoker.calls)


@pytest.mark.parametrize("late", [False, True])
async def test_what_nobody_expected(
    doors: Doors, caplog: Any, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """A 500 that points to the log, where the reason is, as on the long way."""

    def broken() -> Any:
        raise RuntimeError("no way")

    def start(request: InvokeRequest, told: Told) -> None:
        told(broken) if late else broken()

    async def invoke(request: InvokeRequest) -> None:
        broken()

    monkeypatch.setattr(doors.door.invoker, "start", start)
    monkeypatch.setattr(doors.door.invoker, "invoke", invoke)
    short, long = await doors.both(request())
    assert short.status == 500
    assert short.comparable() == long.comparable()
    messages = [record.getMessage() for record in caplog.records]
    assert messages == [f"POST {PATH} (request {each.request_id.decode()}) failed" for each in (short, long)]
    assert caplog.text.count("RuntimeError: no way") == 2


async def test_what_is_given_up(doors: Doors, monkeypatch: pytest.MonkeyPatch) -> None:
    """An invocation whose answer will never come ends its connection."""

    def cancelled() -> Any:
        raise asyncio.CancelledError

    monkeypatch.setattr(doors.door.invoker, "start", lambda request, told: told(cancelled))
    async with doors.client() as client:
        client.writer.write(request())
        assert await client.at_end() == b""


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110  it is in the server's own connections
            await asyncio.sleep(0)
