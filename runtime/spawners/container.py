"""What a sandbox's container is: the engine API's own document, made from a specification.

Pure. The hardening is a table, because an engine may refuse any row of it (rootless engines, nested ones, old
kernels): the spawner then leaves that row out and says what is lost.

A function's own image has the files of the function already: only the agent and `/tmp` are mounted into it. Into an
image that is not ours and serves a runtime the agent is mounted beside the files.

On `/tmp`: the root file system is read-only and `/tmp` is an anonymous volume. A tmpfs would be capped in size but its
pages count as the function's memory: a 128 MB function that fills its 512 MB of `/tmp` would be killed. The volume has
the image's mode (1777; the agent gives it that mode where the image is not ours), costs no memory, and is not capped in size.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rapid.subscriptions import HOSTS
from runtime.spawners.base import ForeignImage, SandboxSpec
from runtime.spawners.common import (
    AGENT_PLACE,
    MAX_FILES,
    MAX_PROCESSES,
    agent_command,
    agent_environment,
    memory_limit,
)

Document = dict[str, Any]
Members = Callable[[int], Mapping[str, Any]]
"""Memory in MB → members of the document's `HostConfig`."""

OWNER = "berth"
SANDBOX = "berth.sandbox"
RUNTIME = "berth.runtime"
PROBE = "berth.probe"
PAUSE = "berth.pause"
PROCESS = "berth.process"
"""The control plane's process, see `owners`."""

TMP = "/tmp"  # noqa: S108  a place in the sandbox
PYTHON = "/usr/bin/python3"
"""The interpreter of runtime images that the agent runs on."""

FOREIGN_AGENT = f"{AGENT_PLACE}/bin/agent"
"""The agent's program where its bundle was mounted into an image that is not ours."""
CODE_PLACES = ("/var/task", "/opt")
"""Where a package and its layers are shown."""
FOREIGN_PLACES = (AGENT_PLACE, TMP)
"""What is mounted into images that are not ours, beside those."""

FULL_CORE_MB = 1769
"""Memory at which Lambda gives one whole core."""


def _memory(memory_mb: int) -> Mapping[str, Any]:
    """A hard limit, swap included."""
    limit = memory_limit(memory_mb)
    return {"Memory": limit, "MemorySwap": limit}


def cpu_shares(memory_mb: int) -> int:
    """The weight by which a sandbox competes: in proportion to its memory, 1024 for a whole core."""
    return max(2, 1024 * memory_mb // FULL_CORE_MB)


@dataclass(frozen=True, slots=True)
class Option:
    """One thing that hardens a sandbox."""

    name: str
    members: Members
    loss: str
    """What is lost without it, completing `sandboxes …`."""
    by_size: bool = False
    """Whether it depends on memory, and so has to change with it."""


OPTIONS = (
    Option(
        # The agent kills (KILL) and becomes the function's user (SETUID, SETGID); the function itself holds none.
        "capabilities",
        lambda _: {"CapDrop": ["ALL"], "CapAdd": ["KILL", "SETUID", "SETGID"]},
        "keep the engine's default capabilities for their agent",
    ),
    Option(
        "no-new-privileges",
        lambda _: {"SecurityOpt": ["no-new-privileges"]},
        "may gain privileges through set-user-id programs",
    ),
    Option("pids", lambda _: {"PidsLimit": MAX_PROCESSES}, "may start any number of processes"),
    Option(
        "nofile",
        lambda _: {"Ulimits": [{"Name": "nofile", "Soft": MAX_FILES, "Hard": MAX_FILES}]},
        "leave the limit of open files to their agent alone",
    ),
    Option("read-only root", lambda _: {"ReadonlyRootfs": True}, "may write outside of /tmp"),
    Option("memory", _memory, "may take more memory than the function has", by_size=True),
    Option(
        "cpu",
        lambda mb: {"CpuShares": cpu_shares(mb)},
        "share the processor evenly, whatever their memory",
        by_size=True,
    ),
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all sandboxes of one control plane share."""

    owner: str
    network: str
    process: str = ""
    """The mark of the control plane's process."""
    extra_hosts: tuple[str, ...] = ()
    left_out: frozenset[str] = frozenset()
    """Names of options that the engine refuses."""
    keep_output: bool = False
    """Keep what an agent writes, to see why one dies at its start; all else goes over the link."""


def name_of(owner: str, sandbox_id: str) -> str:
    return f"berth-{owner}-{sandbox_id}"


def container(spec: SandboxSpec, around: Surroundings, joined: str | None = None) -> Document:
    """The body of the engine's `POST /containers/create`. `joined`: a pause whose network and names it shares."""
    own = {"Hostname": spec.sandbox_id[:63]} if joined is None else {}
    return {
        **own,
        "Image": spec.image,
        "Entrypoint": [],
        "Cmd": agent_command(PYTHON) if spec.foreign is None else [FOREIGN_AGENT],
        "Env": _environment(spec),
        "Healthcheck": {"Test": ["NONE"]},  # an image's own would run beside the function
        "User": "0:0",
        "WorkingDir": "/",
        "Labels": {
            OWNER: around.owner,
            PROCESS: around.process,
            SANDBOX: spec.sandbox_id,
            RUNTIME: spec.runtime,
        },
        "StopTimeout": 0,
        "HostConfig": {
            **(_network(around) if joined is None else {"NetworkMode": f"container:{joined}"}),
            "Mounts": _mounts(spec),
            "LogConfig": {"Type": "json-file" if around.keep_output else "none"},
            "Init": False,
            **hardening(spec.memory_mb, around.left_out),
        },
    }


def pause(identity: str, image: str, around: Surroundings) -> Document:
    """A container that holds a network and does nothing, with nothing that it could do."""
    return {
        "Image": image,
        "Entrypoint": [],
        "Cmd": ["/bin/sleep", "infinity"],
        "Env": [],
        "User": "65534:65534",
        "WorkingDir": "/",
        "Hostname": identity,
        "Labels": {OWNER: around.owner, PROCESS: around.process, PAUSE: "1"},
        "StopTimeout": 0,
        "HostConfig": {
            **_network(around),
            "LogConfig": {"Type": "none"},
            "Init": False,
            **hardening(0, around.left_out),
            "CapAdd": [],
        },
    }


def _network(around: Surroundings) -> Document:
    """A network namespace of its own, and the names that are known in it."""
    return {
        "NetworkMode": around.network,
        # By these names listeners of telemetry know where they are.
        "ExtraHosts": [*(f"{name}:127.0.0.1" for name in HOSTS), *around.extra_hosts],
    }


def _environment(spec: SandboxSpec) -> list[str]:
    """The agent's variables. A name without a value takes away what the image has set."""
    variables = agent_environment(spec)
    foreign = () if spec.foreign is None else spec.foreign.variables
    return [
        *(f"{name}={value}" for name, value in variables.items()),
        *(name for name in foreign if name not in variables),
    ]


def _mounts(spec: SandboxSpec) -> list[Document]:
    trees = list(zip(CODE_PLACES, (spec.task_root, spec.opt), strict=True))
    if spec.foreign is None:
        return [_volume(TMP), *(_tree(place, tree, _volume) for place, tree in trees)]
    shown = [] if spec.foreign.has_code else [_tree(place, tree, _empty) for place, tree in trees]
    return [_empty(TMP), _agent(spec.foreign), *shown]


def hardening(memory_mb: int, left_out: Collection[str]) -> Document:
    """Members of `HostConfig`, without the options that were left out."""
    return _members(memory_mb, (option for option in OPTIONS if option.name not in left_out))


def size(memory_mb: int, left_out: Collection[str]) -> Document:
    """Those of them that depend on memory."""
    options = (option for option in OPTIONS if option.by_size)
    return _members(memory_mb, (option for option in options if option.name not in left_out))


def _members(memory_mb: int, options: Iterable[Option]) -> Document:
    members: Document = {}
    for option in options:
        members |= option.members(memory_mb)
    return members


def probe(
    image: str, owner: str, members: Mapping[str, Any], foreign: ForeignImage | None = None
) -> Document:
    """A container that does nothing, to learn whether the engine takes these members of `HostConfig`.

    What a foreign image has to run is not known: there it is an agent, which ends because nobody told it whom to dial.
    """
    mounts = {} if foreign is None else {"Mounts": [_agent(foreign)]}
    return {
        "Image": image,
        "Entrypoint": [],
        "Cmd": ["/bin/true"] if foreign is None else [FOREIGN_AGENT],
        "Labels": {OWNER: owner, PROBE: "1"},
        "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}, **mounts, **members},
    }


def bind(source: Path, target: str) -> Document:
    """A read-only mount. Unlike the older `Binds`, the engine refuses a source that it does not see."""
    return {"Type": "bind", "Source": str(source), "Target": target, "ReadOnly": True}


def _volume(target: str) -> Document:
    return {"Type": "volume", "Target": target}


def _agent(foreign: ForeignImage) -> Document:
    """The bundle, read-only. `NoCopy`: its volume was filled before, and not from the image at hand."""
    if isinstance(foreign.agent, Path):
        return bind(foreign.agent, AGENT_PLACE)
    options = {"VolumeOptions": {"NoCopy": True}, "ReadOnly": True}
    return {**_volume(AGENT_PLACE), "Source": foreign.agent, **options}


def _empty(target: str) -> Document:
    """A volume that is empty, whatever the image has there."""
    return {**_volume(target), "VolumeOptions": {"NoCopy": True}}


def _tree(target: str, source: Path | None, place: Callable[[str], Document]) -> Document:
    """The control plane's tree, or a place that the agent fills."""
    return place(target) if source is None else bind(source, target)
