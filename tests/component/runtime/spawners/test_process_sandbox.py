"""What the `process` spawner promises beyond the contract of all spawners: the shape of its world, records, refusals."""

import asyncio
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from rapid.invocation import ExitStatus
from runtime.links import Link, LinkServer
from runtime.spawners import local_processes, local_runtime
from runtime.spawners.base import Layout, SandboxHandle, SandboxSpec, SpawnerError
from runtime.spawners.limits import Limits
from runtime.spawners.process import ProcessSpawner

LIMIT = 30
IS_ROOT = os.geteuid() == 0


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Not pytest's own directory: functions run as another user."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


class Ears:
    def __init__(self) -> None:
        self.said = b""
        self.exit: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    def output(self, process: int, stream: int, data: bytes) -> None:
        self.said += data

    def exited(self, process: int, status: ExitStatus) -> None:
        self.exit.set_result(status)

    def lost(self, reason: str, *, out_of_memory: bool = False) -> None:
        if not self.exit.done():
            self.exit.set_exception(AssertionError(reason))


class Box:
    """A prepared spawner in bubblewrap and the links of its sandboxes."""

    def __init__(self, data_dir: Path) -> None:
        self.spawner = ProcessSpawner("me", data_dir, isolation="bubblewrap")
        self.links = LinkServer()

    def spec(self, **changes: Any) -> SandboxSpec:
        values: dict[str, Any] = {
            "sandbox_id": secrets.token_hex(8),
            "runtime": local_runtime.IDENTIFIER,
            "image": "",
            "memory_mb": 128,
            "ephemeral_storage_mb": 512,
            "task_root": None,
            "opt": None,
            "link": f"127.0.0.1:{self.links.port}",
            "token": "a secret token",
        }
        return SandboxSpec(**{**values, **changes})

    async def launch(self, **changes: Any) -> Link:
        spec = self.spec(**changes)
        dialled = self.links.expect(spec.sandbox_id, spec.token)
        await self.spawner.launch(spec)
        return await asyncio.wait_for(dialled, LIMIT)

    async def run(
        self, link: Link, *argv: str, env: Mapping[str, str] | None = None
    ) -> tuple[str, ExitStatus]:
        link.observer = ears = Ears()
        await link.start(1, argv, {"PATH": "/usr/bin:/bin", **(env or {})}, "/")
        status = await asyncio.wait_for(ears.exit, LIMIT)
        return ears.said.decode(), status

    async def shell(self, script: str, **changes: Any) -> str:
        said, _ = await self.run(await self.launch(**changes), "/bin/sh", "-c", script)
        return said


@pytest.fixture
async def box(data_dir: Path) -> AsyncIterator[Box]:
    box = Box(data_dir)
    await box.spawner.prepare()
    await box.links.open("127.0.0.1")
    yield box
    for handle in await box.spawner.list():
        await box.spawner.destroy(handle)
    await box.spawner.close()
    await box.links.close()


# The world inside


async def test_processes_inside(box: Box) -> None:
    """The agent is process 1, and nothing of the machine's processes is to be seen."""
    said = await box.shell("echo $PPID; cat /proc/1/comm; ls -d /proc/[0-9]* | wc -l")
    parent, _, count = said.split()
    assert parent == "1"
    assert int(count) <= 4


async def test_privileges(box: Box) -> None:
    """Functions have no capabilities and can gain none; the agent has three, and only as root."""
    said = await box.shell("grep -h -E '^(Uid|Cap|NoNewPrivs|Groups)' /proc/self/status /proc/1/status")
    function, agent = said[: said.index("Uid", 5)], said[said.index("Uid", 5) :]
    assert re.findall(r"Cap(?:Prm|Eff|Amb):\t(\w+)", function) == ["0" * 16] * 3
    assert re.findall(r"NoNewPrivs:\t(\d)", said) == ["1", "1"]
    capabilities = 1 << 5 | 1 << 6 | 1 << 7 if IS_ROOT else 0  # KILL, SETGID, SETUID
    assert {int(word, 16) for word in re.findall(r"Cap(?:Prm|Eff):\t(\w+)", agent)} == {capabilities}
    if IS_ROOT:
        assert re.findall(r"Uid:\t(\d+)", said) == ["993", "0"]
        assert re.search(r"Groups:[ \t]*\n", function)


async def test_files_inside(box: Box, data_dir: Path) -> None:
    """The root is read-only and holds the system's programs, not this machine's users, data and settings."""
    (data_dir / "secret").write_text("secret")
    probes = f"cat {data_dir}/secret; ls /home /etc/shadow; touch /x /usr/x /etc/x /var/x /opt/x; id -un"
    said = await box.shell(f"({probes}) 2>&1; ls -ld /tmp")
    assert "secret\n" not in said.replace(f"{data_dir}/secret", "")
    assert said.count("No such file or directory") == 3
    assert len(re.findall(r"touch: .*(?:Read-only file system|Permission denied)", said)) == 5
    assert said.splitlines()[-1].startswith("drwxrwxrwt")
    if IS_ROOT:
        assert "sbx_user1051" in said


async def test_room(box: Box) -> None:
    """`/tmp` is as large as the function's ephemeral storage, private, and empty at first."""
    said = await box.shell(
        "ls -A /tmp | wc -l; head -c 9000000 /dev/zero >/tmp/x; stat -c %s /tmp/x", ephemeral_storage_mb=8
    )
    assert "No space left on device" in said
    assert said.split()[-1] == str(8 << 20)


async def test_token_is_not_shown(box: Box) -> None:
    """Arguments of processes are for every user of the machine to read: the link's token is not among them."""
    await box.launch()
    lines = [Path(f"/proc/{pid}/cmdline") for pid in local_processes.pids()]
    shown = b"".join(line.read_bytes() for line in lines if line.exists())
    assert b"--unshare-pid" in shown
    assert b"a secret token" not in shown


async def test_limits(box: Box) -> None:
    """A sandbox has as many file descriptors as any function on Lambda; the agent gives most functions fewer."""
    assert await box.shell("ulimit -Sn; ulimit -Hn") == "4096\n4096\n"


async def test_out_of_memory(box: Box) -> None:
    """A function that takes too much is killed and told so; where memory cannot be metered, it is refused more."""
    limits = Limits("trial")
    strict = limits.prepare() is None
    limits.close()
    link = await box.launch()
    _, status = await box.run(link, "/usr/bin/tail", "/dev/zero")
    assert status == (ExitStatus(-9, out_of_memory=True) if strict else ExitStatus(1))
    assert (await box.run(link, "/bin/echo", "alive"))[0] == "alive\n"


async def test_runtime_client(box: Box) -> None:
    """The bootstrap runs the real runtime client, with layers and the function's files where AWS has them."""
    with tempfile.TemporaryDirectory() as name:
        tree, layer = Path(name) / "task", Path(name) / "opt"
        (layer / "python").mkdir(parents=True)
        tree.mkdir()
        (layer / "python/shared.py").write_text("NAME = 'the layer'")
        (tree / "app.py").write_text(
            "import shared, sys; print(shared.NAME, sys.path[0], flush=True); raise SystemExit(7)"
        )
        _open_up(Path(name))
        link = await box.launch(task_root=tree, opt=layer)
        env = {
            "_HANDLER": "app.handler",
            "LAMBDA_TASK_ROOT": "/var/task",
            "LAMBDA_RUNTIME_DIR": "/var/runtime",
            "AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1",
        }
        said, status = await box.run(link, "/var/runtime/bootstrap", env=env)
    assert "the layer /var/task" in said
    assert status.code == 7
    assert (await box.run(link, "/var/lang/bin/python3", "-c", "print(6 * 7)"))[0] == "42\n"


def _open_up(tree: Path) -> None:
    for path in (tree, *tree.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)


# Those who crash, and their records

CONTROL_PLANE = """
import asyncio, sys
from pathlib import Path
from runtime.links import LinkServer
from runtime.spawners.base import SandboxSpec
from runtime.spawners.process import ProcessSpawner

async def main(data_dir, sandbox_id, runtime):
    spawner, links = ProcessSpawner("me", Path(data_dir), isolation="bubblewrap"), LinkServer()
    await spawner.prepare()
    await links.open("127.0.0.1")
    dialled = links.expect(sandbox_id, "token")
    await spawner.launch(SandboxSpec(
        sandbox_id=sandbox_id, runtime=runtime, image="", memory_mb=128, ephemeral_storage_mb=512,
        task_root=None, opt=None, link=f"127.0.0.1:{links.port}", token="token"))
    link = await dialled
    await link.start(1, ["/bin/sh", "-c", "sleep 1000"], {"PATH": "/bin", "MARK": sandbox_id}, "/")
    print("up", flush=True)
    await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_crashed_control_plane(data_dir: Path) -> None:
    """A control plane that is killed takes its sandboxes with it; the next one clears the records away."""
    name = secrets.token_hex(8)
    crashed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CONTROL_PLANE, str(data_dir), name, local_runtime.IDENTIFIER,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert crashed.stdout is not None
    assert await asyncio.wait_for(crashed.stdout.readline(), LIMIT) == b"up\n"
    marks = [f"BERTH_SANDBOX={name}".encode(), f"MARK={name}".encode()]
    living = [(process, process.open()) for process in local_processes.marked(marks)]
    assert len(living) >= 2
    crashed.kill()
    await crashed.wait()
    for process, fd in living:
        assert fd is None or await local_processes.ended(fd, LIMIT), process
        if fd is not None:
            os.close(fd)
    successor = ProcessSpawner("me", data_dir, isolation="bubblewrap")
    await successor.prepare()
    assert await successor.list() == []
    await successor.close()
    assert list((data_dir / "process").iterdir()) == []


@pytest.fixture
def bystander() -> Iterator[int]:
    """A process that is none of ours."""
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        assert process.poll() is None
        process.kill()


async def test_a_number_is_no_name(data_dir: Path, bystander: int) -> None:
    """A record whose number now belongs to another process harms nobody."""
    spawner = ProcessSpawner("me", data_dir)
    root = local_processes.of(bystander)
    assert root is not None
    handle = SandboxHandle("process", "old", str(bystander), Layout(runtime_dir="/nowhere"))
    document = {
        "owner": "me",
        "handle": handle.to_json(),
        "root": {**asdict(root), "started": root.started - 1},
    }
    (data_dir / "process").mkdir()
    (data_dir / "process/old.json").write_text(json.dumps(document))
    await spawner.destroy(handle)
    assert await spawner.list() == []
    assert not (data_dir / "process/old.json").exists()


async def test_unreadable_record(data_dir: Path) -> None:
    """A record that was cut short is no sandbox."""
    (data_dir / "process").mkdir()
    (data_dir / "process/half.json").write_text('{"owner": "m')
    assert await ProcessSpawner("me", data_dir).list() == []


# Refusals


async def test_other_runtimes(box: Box) -> None:
    """What cannot be served is refused with what can be, and what to do."""
    with pytest.raises(
        SpawnerError,
        match=rf"nodejs22\.x cannot run here.*serve {local_runtime.IDENTIFIER} only.*make engine",
    ):
        await box.spawner.launch(box.spec(runtime="nodejs22.x"))


async def test_no_bubblewrap(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where bubblewrap is missing, isolation is said to be; where it was asked for, nothing is prepared."""
    monkeypatch.setattr("shutil.which", lambda *_, **__: None)
    monkeypatch.setattr(local_runtime, "check_reach", lambda *_: None)
    with pytest.raises(SpawnerError, match="bubblewrap is not installed"):
        await ProcessSpawner("me", data_dir, isolation="bubblewrap").prepare()
    spawner = ProcessSpawner("me", data_dir)
    facts = await spawner.prepare()
    assert "without any isolation" in facts.description
    assert "functions are not isolated" in caplog.text
    await spawner.close()


async def test_no_runtime_client(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the runtime client nothing can run, and the text says how to get it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(SpawnerError, match=r"awslambdaric.*berth\[process\]"):
        await ProcessSpawner("me", data_dir).prepare()


@pytest.mark.parametrize("missing", ["/nowhere/at/all"])
def test_out_of_reach(missing: str) -> None:
    """What the functions' user cannot read is found out before the first function fails of it."""
    if not IS_ROOT:
        assert os.geteuid() != 0, "only root runs functions as somebody else"
        return
    with pytest.raises(SpawnerError, match="install bubblewrap"):
        local_runtime.check_reach(Path(missing))


async def test_last_words(box: Box) -> None:
    """A sandbox that fails says why in its death."""
    spec = box.spec(task_root=Path("/nowhere/at/all"))
    await box.spawner.launch(spec)
    death = await asyncio.wait_for(anext(box.spawner.deaths()), LIMIT)
    assert death.reason.startswith("exit status 1: bwrap: ")
    assert "/nowhere/at/all" in death.reason


async def test_killed_from_outside(box: Box) -> None:
    """A kill from outside is told as such, and not as out of memory."""
    link = await box.launch()
    [handle] = await box.spawner.list()
    os.kill(int(handle.reference), signal.SIGKILL)
    death = await asyncio.wait_for(anext(box.spawner.deaths()), LIMIT)
    assert (death.sandbox_id, death.reason, death.out_of_memory) == (link.sandbox_id, "signal: killed", False)
