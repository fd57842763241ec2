"""What an environment needs from whoever holds its processes.

That is a link to the agent of a sandbox (`runtime.links`). Futures instead of
coroutines: the hot path must not create a task to free an environment.
"""

from asyncio import Future
from collections.abc import Mapping, Sequence
from typing import Protocol

from rapid.invocation import ExitStatus


class StartFailed(Exception):
    """A process could not be started. `stage` is `exec`, `chdir` or `fork`; the text is as Lambda words it."""

    def __init__(self, stage: str, text: str) -> None:
        super().__init__(text)
        self.stage = stage


class SupervisorLost(Exception):
    """The sandbox or the way to it is gone; the observer has been told."""


class TunnelBroken(ConnectionError):
    """Nobody listens at that port, or the connection is over; the text says which."""


class Tunnel(Protocol):
    """A connection to a listener inside the sandbox."""

    @property
    def is_open(self) -> bool:
        """Whether, for all that is known, the listener still has the other end."""
        ...

    def write(self, data: bytes) -> None:
        """Have data sent; it is held here until the listener takes it."""
        ...

    async def drain(self) -> None:
        """Wait until the listener's socket has taken all that was written. Raises `TunnelBroken`."""
        ...

    async def read(self) -> bytes:
        """What has come, once something has; empty at the end."""
        ...

    def close(self) -> None:
        """Hang up; what has not been sent is dropped."""
        ...


class Observer(Protocol):
    """Who hears about the processes. Calls come in the order in which things happened inside the sandbox."""

    def output(self, process: int, stream: int, data: bytes) -> None:
        """A process wrote; `stream` is 1 for stdout, 2 for stderr."""
        ...

    def exited(self, process: int, status: ExitStatus) -> None: ...

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        """The sandbox is gone. The last call."""
        ...


class Supervisor(Protocol):
    """Holds the processes of one sandbox. Futures fail with `SupervisorLost` when it is gone."""

    observer: Observer | None

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
        """Start a process under a number of the caller's choice. Fails with `StartFailed`.

        `log_fd` is a descriptor under which the process finds its stdout once more. With `log_desk` its workers can
        have streams of their own: numbers above 2 in `output`. `files` is how many it may have open.
        """
        ...

    def list(self, path: str) -> Future[Sequence[str]]:
        """The names of a directory's entries inside the sandbox that are not directories, sorted.

        Empty when there is no such directory. Of very many, the first.
        """
        ...

    def signal(self, process: int, number: int) -> None:
        """Send a signal to a process and its group; nothing happens if it is gone."""
        ...

    def connect(self, port: int) -> Future[Tunnel]:
        """Connect to a port of the sandbox's loopback interface. Fails with `TunnelBroken`.

        It may take for ever: cancel it then.
        """
        ...

    def settle(self) -> Future[int]:
        """When done, everything written before has been given to the observer. The peak memory in bytes."""
        ...

    def clear(self) -> Future[int]:
        """Kill every process. Like `settle`, and none is left."""
        ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...
