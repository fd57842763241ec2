"""Links: the connections that agents open from inside their sandboxes, and the supervisors made of them.

A sandbox is recognised by the one-time token it was started with. What the agent may say is `rapid.wire`; a peer that
says anything else is cut off. This module knows frames and processes, not functions or invocations.

Links share one event loop, and what a function writes costs the loop time: by the line, far more than by the byte. So
each link works off what it has heard in slices, and rests as long as it has worked. It rests too while whoever takes
the output has enough of it. While it rests nothing is read; the agent's writes block then, and the function's.
"""

import asyncio
import hmac
import logging
import socket
import struct
import time
from asyncio import Future, TimerHandle, Transport
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, cast

from rapid.invocation import ExitStatus
from rapid.supervisor import Observer, StartFailed, SupervisorLost, Tunnel
from rapid.wire import (
    CHUNK,
    OUTPUT_HEADER,
    SETTLED_PAYLOAD,
    TOKEN,
    Frames,
    Kind,
    WireError,
    fields,
    frame,
    message,
)
from runtime.tunnels import ABOUT_TUNNELS, Tunnels

logger = logging.getLogger(__name__)

COMPLAINTS = 60.0
"""Seconds between two words about strangers: they must not be able to fill the log."""
HELLO_LIMIT = 10.0
"""Seconds in which a new connection must say who it is."""
ANSWER_LIMIT = 30.0
"""Seconds in which an agent must answer; one that does not is lost."""
BROKEN = (WireError, KeyError, ValueError, struct.error)
"""What comes of a peer that does not speak the protocol."""
SLICE = 0.001
"""Seconds of work after which a link rests."""
PAUSE = 0.005
"""Seconds that a link rests when its output's reader has enough."""
PATIENCE = 5.0
"""Seconds after which it goes on all the same: the output is the reader's to drop, but an agent has to be heard."""
PIECE = 2048
"""Bytes of an output frame that are worked off at a time: some 4 ms of work if every one of them is a line."""
UNREAD = 1 << 17
"""Bytes that the system may hold of what an agent sent. What a flood left there is still to be worked off when it ends."""
NAMELESS = 256
"""Connections that may be waited for to say hello at a time; any process that reaches the port can open them."""


class Link(asyncio.Protocol):
    """One agent's connection; once it has said hello, the `Supervisor` of its sandbox."""

    def __init__(self, server: "LinkServer") -> None:
        self._server = server
        self._frames = Frames()
        self._heard: deque[tuple[Kind, bytes]] = deque()
        #: Whole frames that are still to be worked off.
        self._rest: TimerHandle | None = None
        #: Runs while this link rests.
        self.has_enough: Callable[[], bool] = lambda: False
        #: Asked whether output had better wait.
        self._waiting: float | None = None
        #: Since when it has been asked to wait, without an end of it.
        self._transport: Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._hello: TimerHandle | None = None
        self._answers: dict[int, Future[int]] = {}
        self._starts: dict[int, Future[None]] = {}
        self._lists: dict[int, tuple[str, Future[Sequence[str]]]] = {}
        #: What was asked about which path, oldest first; numbered as the other questions are.
        self._trees: dict[str, Future[None]] = {}
        self._tunnels = Tunnels(self._send)
        self._token = 0
        self._patience: TimerHandle | None = None
        #: Runs while questions are open.
        self._writable = asyncio.Event()
        self._writable.set()
        self.lost: str | None = None
        #: Why the link is gone, once it is.
        self.sandbox_id: str | None = None
        self.peer = ""
        #: The address that the sandbox speaks from.
        self.observer: Observer | None = None

    def __repr__(self) -> str:
        return f"<Link {self.sandbox_id or 'nameless'} from {self.peer}>"

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("Transport", transport)  # uvloop's do not inherit asyncio's
        self.peer = (transport.get_extra_info("peername") or [""])[0]  # none where it has hung up already
        self._hello = self._loop.call_later(HELLO_LIMIT, self.cut, "it did not say hello")
        self._server.met(self)

    def data_received(self, data: bytes) -> None:
        try:
            for kind, payload in self._frames.feed(data):
                if kind in ABOUT_TUNNELS and self.sandbox_id is not None:
                    self._tunnels.hear(kind, payload)  # no order with the rest, and not to wait for a flood
                else:
                    self._heard.append((kind, payload))
            if self._rest is None:
                self._work()
        except BROKEN as error:
            self._broke(error)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            while self._heard:  # what it said before it went
                self._hear_next()
        except BROKEN as error:
            self._broke(error)
        self._lose(str(exc) if exc else "the sandbox hung up")

    def cut(self, reason: str, *, out_of_memory: bool = False) -> None:
        """End the connection from this side; the agent then ends its sandbox."""
        if self._transport is not None:
            self._transport.abort()
        self._lose(reason, out_of_memory=out_of_memory)

    def _lose(self, reason: str, *, out_of_memory: bool = False) -> None:
        if self.lost is not None:
            return
        self.lost = reason
        self._heard.clear()
        self._writable.set()
        self._known()
        for timer in (self._patience, self._rest):
            if timer is not None:
                timer.cancel()
        waiting: list[Future[Any]] = [*self._answers.values(), *self._starts.values(), *self._trees.values()]
        for future in [*waiting, *(future for _, future in self._lists.values())]:
            if not future.done():
                future.set_exception(SupervisorLost(reason))
                future.exception()  # whoever waits sees it; nobody waiting is no error
        self._tunnels.lost(reason, SupervisorLost(reason))
        if self.observer is not None:
            self.observer.lost(reason, out_of_memory=out_of_memory)

    # What the agent says

    def _work(self) -> None:
        """Work off what has been heard; after a slice of it, rest first."""
        began = time.monotonic()
        while self._heard:
            self._hear_next()
            now = time.monotonic()
            worked = now - began
            rest = worked if worked > SLICE else 0
            if self._has_to_wait(now):
                rest = max(rest, PAUSE)
            if rest and self._is_open():
                cast("Transport", self._transport).pause_reading()
                self._rest = self._loop.call_later(rest, self._rested)
                return

    def _has_to_wait(self, now: float) -> bool:
        if not self.has_enough():
            self._waiting = None
            return False
        if self._waiting is None:
            self._waiting = now
        return now - self._waiting < PATIENCE

    def _rested(self) -> None:
        self._rest = None
        try:
            self._work()
        except BROKEN as error:
            self._broke(error)
        if self._rest is None and self._is_open():
            cast("Transport", self._transport).resume_reading()

    def _is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def _hear_next(self) -> None:
        kind, payload = self._heard.popleft()
        if kind is Kind.OUTPUT and len(payload) > PIECE:
            header = payload[: OUTPUT_HEADER.size]
            self._heard.appendleft((kind, header + payload[PIECE:]))
            payload = payload[:PIECE]
        self._hear(kind, payload)

    def _broke(self, error: Exception) -> None:
        self._server.complain(self, error)
        self.cut(f"it broke the link's protocol: {error}")

    def _hear(self, kind: Kind, payload: bytes) -> None:
        if self.sandbox_id is None:
            self._greet(kind, payload)
        elif kind is Kind.OUTPUT:
            process, stream = OUTPUT_HEADER.unpack_from(payload)
            if self.observer is not None:
                self.observer.output(process, stream, payload[OUTPUT_HEADER.size :])
        elif kind in (Kind.SETTLED, Kind.CLEARED):
            token, peak = SETTLED_PAYLOAD.unpack(payload)
            _resolve(self._answers.pop(token, None), peak)
        elif kind in ABOUT_TUNNELS:
            self._tunnels.hear(kind, payload)
        else:
            self._hear_rare(kind, fields(payload))

    def _hear_rare(self, kind: Kind, said: dict[str, object]) -> None:
        if kind is Kind.TREE_DONE:
            done = self._trees.pop(str(said["path"]), None)
            if said["error"] is None:
                _resolve(done, None)
            elif done is not None and not done.done():
                done.set_exception(OSError(f"unpacking {said['path']} in the sandbox: {said['error']}"))
            return
        if kind is Kind.LISTED:
            self._listed(str(said["path"]), said["names"])
            return
        process = int(str(said["process"]))
        if kind is Kind.STARTED:
            _resolve(self._starts.pop(process, None), None)
        elif kind is Kind.NOT_STARTED:
            started = self._starts.pop(process, None)
            if started is not None and not started.done():
                started.set_exception(StartFailed(str(said["stage"]), str(said["error"])))
        elif kind is Kind.EXITED:
            status = ExitStatus(int(str(said["status"])), out_of_memory=bool(said["out_of_memory"]))
            if self.observer is not None:
                self.observer.exited(process, status)
        else:
            raise WireError(f"{kind.name} from an agent")

    def _listed(self, path: str, names: object) -> None:
        """The answer to the oldest question about this path: an agent answers in the order of the questions."""
        if not isinstance(names, list):
            raise WireError("names that are no list")
        asked = next((token for token, (about, _) in self._lists.items() if about == path), None)
        if asked is not None:
            _resolve(self._lists.pop(asked)[1], [str(name) for name in names])

    def _greet(self, kind: Kind, payload: bytes) -> None:
        if kind is not Kind.HELLO:
            raise WireError(f"{kind.name} before HELLO")
        said = fields(payload)
        sandbox_id = str(said["sandbox"])
        if not self._server.admit(sandbox_id, str(said["token"]), self):
            raise WireError(f"no sandbox {sandbox_id!r} with this token is awaited")
        self.sandbox_id = sandbox_id
        self._known()

    def _known(self) -> None:
        """Nothing is to be waited for any more before the link can be used, or given up."""
        self._server.forget(self)
        if self._hello is not None:
            self._hello.cancel()
            self._hello = None

    # The supervisor's side

    def start(
        self,
        process: int,
        argv: Sequence[str],
        env: Mapping[str, str],
        cwd: str,
        *,
        log_fd: int | None = None,
        log_desk: bool = False,
        files: int | None = None,
    ) -> Future[None]:
        future: Future[None] = self._loop.create_future()
        if self._refused(future):
            return future
        self._starts[process] = future
        program = {"argv": list(argv), "env": dict(env), "cwd": cwd, "log_fd": log_fd}
        if log_desk:
            program["log_desk"] = True
        if files is not None:
            program["files"] = files
        self._send(message(Kind.START, process=process, **program))
        return future

    def list(self, path: str) -> Future[Sequence[str]]:
        future: Future[Sequence[str]] = self._loop.create_future()
        if self._refused(future):
            return future
        self._lists[self._number()] = (path, future)
        if self._patience is None:
            self._wait()
        self._send(message(Kind.LIST, path=path))
        return future

    def signal(self, process: int, number: int) -> None:
        self._send(message(Kind.SIGNAL, process=process, number=number))

    def connect(self, port: int) -> Future[Tunnel]:
        future: Future[Tunnel] = self._loop.create_future()
        return future if self._refused(future) else self._tunnels.dial(port)

    def settle(self) -> Future[int]:
        return self._ask(Kind.SETTLE)

    def clear(self) -> Future[int]:
        return self._ask(Kind.CLEAR)

    def freeze(self) -> None:
        self._send(_FREEZE)

    def thaw(self) -> None:
        self._send(_THAW)

    async def deliver(self, path: str, archive: Path) -> None:
        """Unpack a tar archive at `path` inside the sandbox.

        Raises OSError where the sandbox cannot, `SupervisorLost` when it is gone.
        """
        done: Future[None] = self._loop.create_future()
        if not self._refused(done):
            self._trees[path] = done
            self._send(message(Kind.TREE, path=path))
            sent = 0
            while self.lost is None and (data := await asyncio.to_thread(_read, archive, sent)):
                self._send(frame(Kind.TREE_DATA, data))
                sent += len(data)
                await self._writable.wait()
            self._send(frame(Kind.TREE_END))
        await done

    def _ask(self, kind: Kind) -> Future[int]:
        future: Future[int] = self._loop.create_future()
        if self._refused(future):
            return future
        token = self._number()
        self._answers[token] = future
        if self._patience is None:
            self._wait()
        self._send(frame(kind, TOKEN.pack(token)))
        return future

    def _number(self) -> int:
        """A number for the next question."""
        self._token = (self._token + 1) & 0xFFFFFFFF
        return self._token

    def _wait(self) -> None:
        """Give the open questions time. One timer for all: one for each would be set and cancelled every invocation."""
        open_now = [*self._answers, *self._lists]
        self._patience = self._loop.call_later(ANSWER_LIMIT, self._waited, open_now) if open_now else None

    def _waited(self, asked: Sequence[int]) -> None:
        if any(token in self._answers or token in self._lists for token in asked):
            self.cut(f"the agent did not answer within {ANSWER_LIMIT:.0f} s")
        else:
            self._wait()

    def _refused(self, future: Future[Any]) -> bool:
        """Fail `future` where the link is gone."""
        if self.lost is not None:
            future.set_exception(SupervisorLost(self.lost))
            future.exception()
        return self.lost is not None

    def _send(self, data: bytes) -> None:
        if self.lost is None and self._transport is not None:
            self._transport.write(data)


T = TypeVar("T")

_FREEZE = frame(Kind.FREEZE)
_THAW = frame(Kind.THAW)


def _read(path: Path, start: int) -> bytes:
    """One piece of a file. Opened for each: an open file would be lost with a cancelled wait for it."""
    with path.open("rb") as source:
        source.seek(start)
        return source.read(CHUNK)


def _resolve(future: "Future[T] | None", value: T) -> None:
    if future is not None and not future.done():
        future.set_result(value)


class LinkServer:
    """Waits for agents to dial in."""

    def __init__(self) -> None:
        self._awaited: dict[str, tuple[str, Future[Link]]] = {}
        self._nameless: dict[Link, None] = {}
        #: Connections that have not said hello yet, oldest first.
        self._complaint = -COMPLAINTS
        #: When a stranger was last complained of.
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self, host: str) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self), host, 0, backlog=256, start_serving=False)
        for each in self._server.sockets:  # before it listens: the window is agreed on with each connection
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UNREAD)
        await self._server.start_serving()
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Wait for nobody any more. Links that have been given out are their owners' to cut."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for link in list(self._nameless):
            link.cut("nobody is awaited any more")

    def met(self, link: Link) -> None:
        """Somebody has dialled. Of too many that stay silent, the oldest is cut off."""
        if self._server is None:  # accepted before the close
            link.cut("nobody is awaited any more")
            return
        self._nameless[link] = None
        if len(self._nameless) > NAMELESS:
            next(iter(self._nameless)).cut("it did not say hello, and others are waiting")

    def forget(self, link: Link) -> None:
        """It has said hello, or hung up."""
        self._nameless.pop(link, None)

    def complain(self, link: Link, error: Exception) -> None:
        """Say that a link is cut off. What strangers do is said now and then."""
        now = time.monotonic()
        if link.sandbox_id is None and now - self._complaint < COMPLAINTS:
            return
        if link.sandbox_id is None:
            self._complaint = now
        logger.warning("%r: cut off: %s", link, error)

    def expect(self, sandbox_id: str, token: str) -> Future[Link]:
        """The link of the sandbox that will present `token`. Cancel the future to stop waiting."""
        future: Future[Link] = asyncio.get_running_loop().create_future()
        self._awaited[sandbox_id] = (token, future)
        future.add_done_callback(lambda _: self._awaited.pop(sandbox_id, None))
        return future

    def admit(self, sandbox_id: str, token: str, link: Link) -> bool:
        """Give the link to whoever expects it. False when nobody does, or the token is another."""
        known, future = self._awaited.get(sandbox_id, ("", None))
        if future is None or future.done() or not hmac.compare_digest(known.encode(), token.encode()):
            return False
        future.set_result(link)
        return True
