"""What a spawner is: a way to start and destroy sandboxes, and nothing else.

Everything after the start goes over the link that the agent inside the sandbox opens, so a spawner needs no ports,
addresses or `exec`. It knows nothing of functions, versions, invocations or the Runtime API.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol


class Delivery(StrEnum):
    """How a function's files reach its sandbox."""

    BIND = "bind"
    """The engine mounts the control plane's own trees, read-only."""
    COPY = "copy"
    """The agent receives them over the link: the engine does not see the control plane's file system."""


@dataclass(frozen=True, slots=True)
class SpawnerFacts:
    """What a spawner found out about its surroundings when it was prepared."""

    link_host: str
    """The address that the control plane binds for the link and for Runtime API listeners."""
    delivery: Delivery
    description: str
    """One line for people, e.g. `Docker Engine 20.10.24, bind delivery`."""
    dial_host: str = ""
    """The address under which sandboxes reach what is bound to `link_host`: itself, unless something translates."""
    resizes: bool = False
    """Whether `resize` gives a running sandbox all that depends on its function's size.

    Only then can sandboxes be started before it is known whom they will serve.
    """
    memory: int = 0
    """MB of the machine that sandboxes run on; 0 where that is not known."""

    def __post_init__(self) -> None:
        if not self.dial_host:
            object.__setattr__(self, "dial_host", self.link_host)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the processes inside a sandbox find things."""

    task_root: str = "/var/task"
    opt: str = "/opt"
    runtime_dir: str = "/var/runtime"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignImage:
    """What a sandbox needs beside its image where that is not one of Berth's: it brings no agent."""

    agent: Path | str
    """The agent's bundle: a directory that the engine sees, or the name of a volume of its own."""
    variables: tuple[str, ...] = ()
    """Names of variables that the image sets. They are meant for the function, and kept from the agent."""
    has_code: bool = True
    """Whether it is a function's own and has its files; else it serves a runtime, and the trees are shown in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSpec:
    """Everything that a spawner needs to know to start one sandbox."""

    sandbox_id: str
    """Chosen by the caller, unique, lower-case letters and digits."""
    runtime: str
    """Lambda runtime identifier, e.g. `python3.11`."""
    image: str
    """Image reference that serves the runtime; spawners without images ignore it."""
    memory_mb: int
    ephemeral_storage_mb: int
    task_root: Path | None
    """Tree to show at the task root, read-only. None: the agent fills it (delivery `copy`)."""
    opt: Path | None
    """Tree to show at `/opt`, read-only. None: the agent fills it (delivery `copy`)."""
    link: str
    """`host:port` that the agent dials; the host is the spawner's `dial_host`."""
    token: str
    """One-time secret by which the link recognises this sandbox."""
    foreign: ForeignImage | None = None
    """None: the image is one of Berth's."""
    ahead: bool = False
    """Nobody waits for it: what would make its start quicker is left for others."""


@dataclass(frozen=True, slots=True)
class SandboxHandle:
    """A started sandbox, as a value that survives a restart of the control plane."""

    spawner: str
    sandbox_id: str
    reference: str
    """The spawner's own name for it: a container id, a process id."""
    layout: Layout = Layout()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "SandboxHandle":
        fields = json.loads(text)
        return cls(**{**fields, "layout": Layout(**fields["layout"])})


@dataclass(frozen=True, slots=True)
class SandboxDeath:
    """A sandbox ended, asked or unasked."""

    sandbox_id: str
    reason: str
    """For people: `exit status 0`, `signal: killed`, `out of memory`, `removed`."""
    out_of_memory: bool = False
    """The kernel ended it for its memory limit."""

    @property
    def is_from_outside(self) -> bool:
        """Whether somebody ended it, so that the next one may fare better: it did not exit, nor take too much."""
        return not self.out_of_memory and not self.reason.startswith("exit status")


class SpawnerError(Exception):
    """The surroundings refused; the text says what to do about it."""


class SandboxLost(SpawnerError):
    """A sandbox that had been started was ended from outside before it was of use."""


class Spawner(Protocol):
    """Starts and destroys sandboxes. Verbs are idempotent; errors are `SpawnerError`."""

    name: str

    async def prepare(self) -> SpawnerFacts:
        """Find out what the surroundings offer and create what all sandboxes share. Called once, first."""
        ...

    async def launch(self, spec: SandboxSpec) -> SandboxHandle:
        """Start a sandbox; its agent dials `spec.link`.

        A launch that fails or is cancelled leaves nothing behind.
        """
        ...

    async def resize(self, handle: SandboxHandle, memory_mb: int) -> None:
        """Give a running sandbox the limits of one launched with this memory. Fails where facts say `resizes` is off."""
        ...

    async def destroy(self, handle: SandboxHandle) -> None:
        """End a sandbox and all it holds, whatever it does about it. One that is gone already is no error."""
        ...

    async def list(self) -> list[SandboxHandle]:
        """The sandboxes of this owner that exist, those of an earlier control plane included."""
        ...

    def deaths(self) -> AsyncIterator[SandboxDeath]:
        """Deaths as they happen, from the first call on; ends when the spawner is closed."""
        ...

    async def close(self) -> None:
        """Destroy what all sandboxes share and let go of the surroundings. Sandboxes are the caller's to destroy."""
        ...
