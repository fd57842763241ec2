"""The processes of an environment: how they are numbered, started, signalled and made to stand still.

Between `rapid.environment`, which thinks in generations and names, and the supervisor, which knows numbers only.
"""

import asyncio
from asyncio import Future, TimerHandle
from collections.abc import Callable, Sequence

from rapid.exchange import Program
from rapid.invocation import Fault
from rapid.supervisor import StartFailed, Supervisor

FREEZE_DELAY = 0.005
"""Seconds between the end of an invocation and the freeze. Back-to-back invocations then need neither freeze nor
thaw; what runs in a function's background gains at most this much."""

START_FAULTS = {
    "exec": "Runtime.InvalidEntrypoint",
    "chdir": "Runtime.InvalidWorkingDir",
    "fork": "Runtime.InvalidTaskConfig",
}

NO_EXTENSIONS = "disable-extensions-jwigqn8j"
"""A file of this name beside the extensions' directory switches extensions off, as on AWS."""

NUMBERS = 16
"""What each generation of processes has: 0 is the runtime's, the others are the extensions'."""


class Processes:
    """Of one environment. Callbacks are not called when the sandbox is lost: its observer is told."""

    def __init__(self, program: Program, supervisor: Supervisor, *, freeze: bool) -> None:
        self._program = program
        self._supervisor = supervisor
        self._freeze = freeze
        self._extensions: dict[int, str] = {}
        #: Number → name, of the current generation.
        self.are_extensions_off = False
        self._freezing: float | None = None
        #: When they are to be frozen, on the loop's clock.
        self._frozen: Callable[[], None] = _nobody
        #: Who is to be told then.
        self._timer: TimerHandle | None = None
        #: Looks whether it is time.
        self.is_frozen = False

    def runtime(self, generation: int) -> int:
        """The runtime's number."""
        return generation % (65536 // NUMBERS) * NUMBERS

    def extension(self, process: int) -> str | None:
        """The name of the extension that has this number."""
        return self._extensions.get(process)

    def writes_frames(self, process: int, stream: int) -> bool:
        """Whether log events come in frames among what is written there."""
        return self._program.log_fd is not None and process % NUMBERS == 0 and stream == 1

    def start_runtime(self, generation: int, failed: Callable[[Fault], None]) -> None:
        def done(future: Future[None]) -> None:
            reason = _failure(future)
            if isinstance(reason, StartFailed):
                failed(Fault(START_FAULTS.get(reason.stage, START_FAULTS["fork"]), str(reason)))

        program = self._program
        started = self._supervisor.start(
            self.runtime(generation),
            program.argv,
            program.env,
            program.cwd,
            log_fd=program.log_fd,
            log_desk=program.log_desk,
            files=program.files,
        )
        started.add_done_callback(done)

    def find_extensions(self, found: Callable[[tuple[str, ...]], None]) -> None:
        """Look for files in the extensions' directory; none where extensions are switched off."""

        def done(future: Future[Sequence[str]]) -> None:
            if not future.cancelled() and future.exception() is None:
                found(() if self.are_extensions_off else tuple(future.result()))

        self._extensions.clear()
        opt = self._program.opt
        self._supervisor.list(opt).add_done_callback(self._look_for_switch)  # answered first
        self._supervisor.list(f"{opt}/extensions").add_done_callback(done)

    def _look_for_switch(self, future: Future[Sequence[str]]) -> None:
        if not future.cancelled() and future.exception() is None:
            self.are_extensions_off = NO_EXTENSIONS in future.result()

    def start_extension(self, generation: int, name: str, failed: Callable[[str], None]) -> None:
        def done(future: Future[None]) -> None:
            reason = _failure(future)
            if isinstance(reason, StartFailed):
                failed(str(reason))

        process = self.runtime(generation) + len(self._extensions) + 1
        self._extensions[process] = name
        program = self._program
        argv = [f"{program.opt}/extensions/{name}"]
        started = self._supervisor.start(process, argv, program.extension_env, "/", files=program.files)
        started.add_done_callback(done)

    def signal_runtime(self, generation: int, number: int) -> None:
        """And its process group."""
        self._supervisor.signal(self.runtime(generation), number)

    def freeze_soon(self, frozen: Callable[[], None]) -> None:
        """Unless they are thawed before; not at all where freezing is switched off."""
        if not self._freeze:
            return
        loop = asyncio.get_running_loop()
        self._freezing = loop.time() + FREEZE_DELAY
        self._frozen = frozen
        if self._timer is None:  # else it will look again: not each of many invocations costs a timer
            self._timer = loop.call_later(FREEZE_DELAY, self._look)

    def _look(self) -> None:
        """Whether it is time to freeze."""
        self._timer = None
        if self._freezing is None:
            return
        loop = asyncio.get_running_loop()
        left = self._freezing - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
            return
        self._freezing = None
        self.is_frozen = True
        self._supervisor.freeze()
        self._frozen()

    def thaw(self) -> bool:
        """Whether they had been frozen."""
        self._freezing = None
        was, self.is_frozen = self.is_frozen, False
        if was:
            self._supervisor.thaw()
        return was


def _failure(future: Future[None]) -> BaseException | None:
    return None if future.cancelled() else future.exception()


def _nobody() -> None:
    """Is told."""
