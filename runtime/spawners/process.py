"""Sandboxes as local processes: the embedded spawner where no engine is reachable.

The agent is a child of the control plane; with bubblewrap it is PID 1 of a small world of its own, without it an
ordinary process that adopts its orphans, and isolation is weak. What is alive is recorded in files, so that a later
control plane finds what a crashed one left.

Starting a sandbox takes a few milliseconds and no `await`: it happens or it does not, and a cancelled caller leaves
nothing. (It may not move to a thread: the kernel ends bubblewrap with the *thread* that started it.)
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from runtime.spawners import bubblewrap, local_processes, local_runtime
from runtime.spawners.base import (
    Delivery,
    Layout,
    SandboxDeath,
    SandboxHandle,
    SandboxSpec,
    SpawnerError,
    SpawnerFacts,
)
from runtime.spawners.common import agent_command, agent_environment
from runtime.spawners.limits import Cell, Limits
from runtime.spawners.local_processes import Identity

log = logging.getLogger(__name__)

LINK_HOST = "127.0.0.1"
STOP_LIMIT = 2.0
"""Seconds that an agent without a PID namespace gets to end its processes itself."""
END_LIMIT = 10.0
"""Seconds in which killed processes must be gone."""
LAST_WORDS = 500
KILLED = (-signal.SIGKILL, 128 + signal.SIGKILL)
"""How a kill shows: bubblewrap tells it as a shell does."""


@dataclass(slots=True)
class _Sandbox:
    """A sandbox that has been started or found."""

    handle: SandboxHandle
    root: Identity
    """The process that everything else is below: bubblewrap, or the agent itself."""
    cell: Cell
    child: subprocess.Popen[bytes] | None = None
    words: IO[bytes] | None = None
    """What bubblewrap and the agent say when they fail."""
    watched: int | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    """Nothing is left of it."""
    asked: bool = False
    """It was to be destroyed."""

    @property
    def is_plain(self) -> bool:
        """Without bubblewrap: it shows the machine's own paths."""
        return self.handle.layout != Layout()


class ProcessSpawner:
    """One owner's sandboxes. `isolation` is `bubblewrap`, `plain` or, to use what works, `auto`."""

    name = "process"

    def __init__(self, owner: str, data_dir: Path, *, isolation: str = "auto") -> None:
        self._owner = owner
        self._records = data_dir.expanduser().absolute() / "process"
        self._place = self._records / f"shared-{owner}"
        self._isolation = isolation
        self._limits = Limits(owner)
        self._shared: bubblewrap.Shared | None = None
        self._sandboxes: dict[str, _Sandbox] = {}
        self._sweeps: set[asyncio.Task[None]] = set()
        self._told: asyncio.Queue[SandboxDeath | None] = asyncio.Queue()

    def __repr__(self) -> str:
        return f"<ProcessSpawner [{self._owner}, {self._isolation} | {len(self._sandboxes)} sandboxes]>"

    async def prepare(self) -> SpawnerFacts:
        local_runtime.check_client()
        await asyncio.to_thread(self._lay_out)
        await asyncio.to_thread(self._choose_isolation)
        if reason := await asyncio.to_thread(self._limits.prepare):
            log.warning("memory is limited for each process of a function by itself, because %s", reason)
        wrapped = self._isolation == "bubblewrap"
        how = "in bubblewrap" if wrapped else "without any isolation of files and processes"
        description = f"local processes of {local_runtime.IDENTIFIER} {how}, bind delivery"
        return SpawnerFacts(LINK_HOST, Delivery.BIND, description)

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        """Launching what is there already gives the same handle again."""
        local_runtime.require(spec.runtime)
        known = self._sandboxes.get(spec.sandbox_id)
        sandbox = known or self._start(spec)
        return sandbox.handle

    async def resize(self, handle: SandboxHandle, memory_mb: int) -> None:  # noqa: ARG002  every spawner's signature
        """Not here: the size of `/tmp` stays what it was at the start. Nor is it needed: a start takes milliseconds."""
        raise SpawnerError("local processes keep the limits that they were started with")

    async def destroy(self, handle: SandboxHandle) -> None:
        sandbox = self._sandboxes.get(handle.sandbox_id) or await self._recover(handle.sandbox_id)
        if sandbox is None:
            return
        sandbox.asked = True
        await self._end(sandbox)

    async def list(self) -> list[SandboxHandle]:
        for record in sorted(self._records.glob("*.json")):
            if record.stem not in self._sandboxes:
                await self._recover(record.stem)
        return [sandbox.handle for sandbox in self._sandboxes.values()]

    async def deaths(self) -> AsyncIterator[SandboxDeath]:
        while (death := await self._told.get()) is not None:
            yield death
        self._told.put_nowait(None)  # for whoever asks again

    async def close(self) -> None:
        for sandbox in self._sandboxes.values():
            self._unwatch(sandbox)
        if self._sweeps:
            await asyncio.wait(self._sweeps, timeout=END_LIMIT)
        self._told.put_nowait(None)
        self._limits.close()
        await asyncio.to_thread(shutil.rmtree, self._place, ignore_errors=True)

    # Preparing

    def _lay_out(self) -> None:
        shutil.rmtree(self._place, ignore_errors=True)
        self._place.mkdir(parents=True)
        local_runtime.lay_out(self._place)
        self._shared = bubblewrap.Shared(
            runtime=self._place / "runtime",
            agent=self._place / "agent",
            lang=self._place / "lang",
            etc=self._place / "etc",
            prefixes=bubblewrap.interpreter_prefixes(),
        )

    def _choose_isolation(self) -> None:
        """Settle `auto`. Raises `SpawnerError` where nothing, or not what was asked for, works."""
        if self._isolation != "plain":
            reason = self._try_bubblewrap()
            if reason is None:
                self._isolation = "bubblewrap"
                return
            if self._isolation == "bubblewrap":
                raise SpawnerError(f"bubblewrap does not work here: {reason}")
            log.warning(
                "functions are not isolated from this machine's files and processes, because %s", reason
            )
            self._isolation = "plain"
        if os.geteuid() == 0:
            local_runtime.check_reach(self._place / "runtime/bootstrap.py")

    def _try_bubblewrap(self) -> str | None:
        """Why it does not work; None when it does."""
        if shutil.which("bwrap") is None:
            return "bubblewrap is not installed"
        shared = self._the_shared()
        if reason := bubblewrap.obstacle(shared.prefixes):
            return reason
        spec = SandboxSpec(
            sandbox_id="probe", runtime="", image="", memory_mb=128, ephemeral_storage_mb=1, task_root=None,
            opt=None, link="", token="",
        )  # fmt: skip
        trial = [*bubblewrap.command(spec, shared, Cell(), [sys.executable, "-I", "-S", "-c", "pass"])]
        try:
            tried = subprocess.run(trial, capture_output=True, text=True, check=False, timeout=END_LIMIT)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return f"bubblewrap fails ({tried.stderr.strip()})" if tried.returncode else None

    def _the_shared(self) -> bubblewrap.Shared:
        if self._shared is None:
            raise SpawnerError("the spawner has not been prepared")
        return self._shared

    # Launching

    def _start(self, spec: SandboxSpec) -> _Sandbox:
        shared = self._the_shared()
        words = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the sandbox
        cell = Cell()
        try:
            cell = self._limits.cell(spec.sandbox_id, spec.memory_mb)
            layout, command = self._program(spec, shared, cell)
            child = self._spawn(command, spec, cell, words)
        except OSError as error:
            words.close()
            self._forget_files(spec.sandbox_id, cell)
            raise SpawnerError(f"a local process cannot be started: {error}") from error
        handle = SandboxHandle(self.name, spec.sandbox_id, str(child.pid), layout)
        root = local_processes.of(child.pid) or Identity(child.pid, 0, "")
        sandbox = _Sandbox(handle, root, cell, child, words)
        try:
            self._record(sandbox)
            self._watch(sandbox, os.pidfd_open(child.pid))
        except OSError as error:
            child.kill()
            child.wait()
            words.close()
            self._forget_files(spec.sandbox_id, cell)
            raise SpawnerError(f"a local process cannot be recorded: {error}") from error
        return sandbox

    def _program(
        self, spec: SandboxSpec, shared: bubblewrap.Shared, cell: Cell
    ) -> tuple[Layout, Sequence[str]]:
        if self._isolation == "bubblewrap":
            return Layout(), bubblewrap.command(spec, shared, cell, agent_command(sys.executable))
        own = self._records / spec.sandbox_id
        layout = Layout(
            task_root=str(spec.task_root or own / "task"),
            opt=str(spec.opt or own / "opt"),
            runtime_dir=str(own / "runtime"),
        )
        for name in ("runtime", "task", "opt"):
            (own / name).mkdir(parents=True)
            (own / name).chmod(0o755)
        own.chmod(0o755)
        local_runtime.bootstrap(own / "runtime", opt=Path(layout.opt))
        return layout, agent_command(sys.executable, str(shared.agent))

    def _spawn(
        self, command: Sequence[str], spec: SandboxSpec, cell: Cell, words: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        """The shell is still the process that joins and is limited, so that all it becomes and starts is."""
        limits = [f"{limit} 2>/dev/null" for limit in self._limits.shell_limits(spec.memory_mb)]
        joins = [f"echo $$ >{entrance} || exit" for entrance in cell.entrances]
        script = "\n".join([*joins, *limits, 'exec "$@"'])
        return subprocess.Popen(
            ["/bin/sh", "-c", script, "sh", *command],
            env=agent_environment(spec),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
            start_new_session=True,
        )

    # Records

    def _record(self, sandbox: _Sandbox) -> None:
        document = {
            "owner": self._owner,
            "handle": sandbox.handle.to_json(),
            "root": asdict(sandbox.root),
        }
        path = self._records / f"{sandbox.handle.sandbox_id}.json"
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(document))
        draft.replace(path)

    async def _recover(self, sandbox_id: str) -> _Sandbox | None:
        """A sandbox that an earlier control plane of this owner started, if anything of it is left."""
        try:
            document = json.loads((self._records / f"{sandbox_id}.json").read_text())
        except (OSError, ValueError):
            return None
        if document["owner"] != self._owner:
            return None
        handle = SandboxHandle.from_json(document["handle"])
        sandbox = _Sandbox(handle, Identity(**document["root"]), self._limits.existing(sandbox_id))
        fd = sandbox.root.open()
        if fd is None and not await asyncio.to_thread(self._strays, sandbox):
            await asyncio.to_thread(self._forget_files, sandbox_id, sandbox.cell)
            return None
        if known := self._sandboxes.get(sandbox_id):  # somebody else was quicker
            if fd is not None:
                os.close(fd)
            return known
        self._watch(sandbox, fd)
        return sandbox

    def _forget_files(self, sandbox_id: str, cell: Cell) -> None:
        """Blocking."""
        cell.remove()
        (self._records / f"{sandbox_id}.json").unlink(missing_ok=True)
        shutil.rmtree(self._records / sandbox_id, ignore_errors=True)

    # Ends

    def _watch(self, sandbox: _Sandbox, fd: int | None) -> None:
        """Hear of its end. Without a descriptor it has ended, and what is left has to be swept up."""
        self._sandboxes[sandbox.handle.sandbox_id] = sandbox
        sandbox.watched = fd
        if fd is not None:
            asyncio.get_running_loop().add_reader(fd, self._died, sandbox)
        else:
            self._died(sandbox)

    def _unwatch(self, sandbox: _Sandbox) -> None:
        fd, sandbox.watched = sandbox.watched, None
        if fd is not None:
            asyncio.get_running_loop().remove_reader(fd)
            os.close(fd)

    def _died(self, sandbox: _Sandbox) -> None:
        self._unwatch(sandbox)
        status = sandbox.child.wait() if sandbox.child else None
        out_of_memory = status in KILLED and not sandbox.asked and sandbox.cell.memory_kills() > 0
        reason = (
            "removed"
            if sandbox.asked
            else "out of memory"
            if out_of_memory
            else _reason(status, sandbox.words)
        )
        self._told.put_nowait(SandboxDeath(sandbox.handle.sandbox_id, reason, out_of_memory))
        sweep = asyncio.create_task(self._sweep(sandbox))
        self._sweeps.add(sweep)
        sweep.add_done_callback(self._sweeps.discard)

    async def _end(self, sandbox: _Sandbox) -> None:
        """An agent without a PID namespace ends its processes itself; then come the kills."""
        if sandbox.is_plain and sandbox.watched is not None:
            sandbox.root.signal(signal.SIGTERM)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_LIMIT):
                    await sandbox.gone.wait()
        if not sandbox.gone.is_set():
            _kill([sandbox.root, *await asyncio.to_thread(local_processes.descendants, sandbox.root.pid)])
        try:
            async with asyncio.timeout(END_LIMIT):
                await sandbox.gone.wait()
        except TimeoutError:
            raise SpawnerError(
                f"{sandbox.handle.sandbox_id}: processes do not die: {self._strays(sandbox)}"
            ) from None

    async def _sweep(self, sandbox: _Sandbox) -> None:
        """Its first process is dead: end what is left, remove its traces."""
        loop = asyncio.get_running_loop()
        limit = loop.time() + END_LIMIT
        while strays := await asyncio.to_thread(self._strays, sandbox):
            if loop.time() > limit:
                log.warning("%s: processes do not die: %s", sandbox.handle.sandbox_id, strays)
                return
            _kill(strays)
            for stray in strays:
                with stray.opened() as fd:
                    if fd is not None:
                        await local_processes.ended(fd, limit=1.0)
        if sandbox.words is not None:
            sandbox.words.close()
        await asyncio.to_thread(self._forget_files, sandbox.handle.sandbox_id, sandbox.cell)
        self._sandboxes.pop(sandbox.handle.sandbox_id, None)
        sandbox.gone.set()

    def _strays(self, sandbox: _Sandbox) -> Sequence[Identity]:
        """What is alive of a sandbox. Blocking: it looks at every process of the machine.

        Members of its control groups are its own; so is what was started with its name, or its runtime directory.
        """
        members = [local_processes.of(pid) for pid in sandbox.cell.members()]
        marks = [f"BERTH_SANDBOX={sandbox.handle.sandbox_id}".encode()]
        if sandbox.is_plain:
            marks.append(f"LAMBDA_RUNTIME_DIR={sandbox.handle.layout.runtime_dir}".encode())
        return [*{*filter(None, members), *local_processes.marked(marks)}]


def _kill(victims: Iterable[Identity]) -> None:
    for victim in victims:
        victim.signal(signal.SIGKILL)


def _reason(status: int | None, words: IO[bytes] | None) -> str:
    """How a sandbox's first process ended, with what it said last."""
    if status is None:
        return "ended"
    if status in KILLED:
        return "signal: killed"
    said = ""
    if words is not None:
        size = words.seek(0, os.SEEK_END)
        words.seek(max(0, size - LAST_WORDS))
        said = words.read().decode(errors="replace").strip()
    how = (
        f"exit status {status}"
        if status >= 0
        else f"signal: {(signal.strsignal(-status) or status)!s}".lower()
    )
    return f"{how}: {said}" if said else how
