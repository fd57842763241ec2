"""The Docker spawner and the runtime images on the engine of this machine."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from rapid.wire import Frames, Kind
from runtime.images import RuntimeImages
from runtime.settings import load
from runtime.spawners.base import Delivery, SandboxSpec, SpawnerFacts
from runtime.spawners.docker import DockerSpawner
from runtime.spawners.engine import Engine

pytestmark = pytest.mark.docker


@dataclass
class Home:
    """Where sandboxes dial: the first frame of each link arrives in `hellos`."""

    engine: Engine
    spawner: DockerSpawner
    facts: SpawnerFacts
    spec: SandboxSpec
    hellos: "asyncio.Queue[dict[str, Any]]"
    owner: str


@pytest.fixture
async def real_engine() -> AsyncIterator[Engine]:
    engine = await Engine.connect(load({}).settings.docker_host)
    yield engine
    await engine.close()


@pytest.fixture
async def image(real_engine: Engine) -> AsyncIterator[str]:
    settings = load({}).settings
    images = RuntimeImages(real_engine, base_image=settings.base_image, build_ca=settings.build_ca)
    yield await images.ensure("python3.11", print)
    await images.close()


@pytest.fixture
async def home(real_engine: Engine, image: str, tmp_path: Path) -> AsyncIterator[Home]:
    owner = f"test{secrets.token_hex(4)}"
    spawner = DockerSpawner(real_engine, owner=owner, data_dir=tmp_path)
    facts = await spawner.prepare()
    hellos: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        [(kind, payload)] = Frames().feed(await reader.read(4096))
        assert kind is Kind.HELLO
        hellos.put_nowait(json.loads(payload))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, facts.link_host, 0)
    link = f"{facts.dial_host}:{server.sockets[0].getsockname()[1]}"
    spec = SandboxSpec(
        sandbox_id="one", runtime="python3.11", image=image, memory_mb=128, ephemeral_storage_mb=512,
        task_root=None, opt=None, link=link, token="secret",
    )  # fmt: skip
    async with server:
        yield Home(real_engine, spawner, facts, spec, hellos, owner)
        for handle in await spawner.list():
            await spawner.destroy(handle)
        await spawner.close()


async def inside(home: Home, reference: str, script: str) -> str:
    """What a shell script says inside a running sandbox, as root."""
    process = await asyncio.create_subprocess_exec(
        "docker", "--host", home.engine.endpoint.url, "exec", reference, "sh", "-c", script,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    return output.decode().strip()


async def test_a_sandbox_dials_home_and_dies_once(home: Home) -> None:
    """1. It is launched. 2. Its agent says who it is. 3. It is destroyed. Result: one death, and nothing is left."""
    deaths = home.spawner.deaths()
    handle = await home.spawner.launch(home.spec)
    hello = await home.hellos.get()
    assert (hello["sandbox"], hello["token"]) == ("one", "secret")
    assert await home.spawner.list() == [handle]
    await home.spawner.destroy(handle)
    await home.spawner.destroy(handle)
    death = await anext(deaths)
    assert death.sandbox_id == "one"
    assert death.reason in ("signal: killed", "removed")
    assert await home.engine.containers(f"berth={home.owner}") == []


async def test_a_sandbox_is_hardened(home: Home) -> None:
    """As seen from inside: capabilities, privileges, limits, and what can be written."""
    handle = await home.spawner.launch(home.spec)
    await home.hellos.get()
    status = dict(
        line.split(":\t", 1)
        for line in (await inside(home, handle.reference, "cat /proc/1/status")).splitlines()
    )
    assert int(status["CapBnd"], 16) == 1 << 5 | 1 << 6 | 1 << 7  # KILL, SETGID, SETUID
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    limits = await inside(home, handle.reference, "grep files /proc/1/limits")
    assert limits.split()[3:5] == ["4096", "4096"]
    document = await home.engine.inspect(handle.reference)
    assert document["HostConfig"]["Memory"] == 144 << 20
    assert "Read-only" in await inside(home, handle.reference, "touch /x /usr/x 2>&1")
    assert await inside(home, handle.reference, "stat -c %a /tmp /var/task /opt") == "1777\n755\n755"
    assert "127.0.0.1" in await inside(home, handle.reference, "grep sandbox.localdomain /etc/hosts")


async def test_trees_are_shown_read_only(home: Home, tmp_path: Path) -> None:
    """Delivery by bind: what the control plane unpacked, and no way to change it."""
    if home.facts.delivery is Delivery.COPY:
        return  # this engine does not see our files, and said so
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "handler.py").write_text("x = 1")
    spec = replace(home.spec, task_root=tmp_path / "task", opt=tmp_path / "task")
    handle = await home.spawner.launch(spec)
    assert await inside(home, handle.reference, "cat /var/task/handler.py /opt/handler.py") == "x = 1x = 1"
    assert "Read-only" in await inside(home, handle.reference, "rm /var/task/handler.py")


async def test_sandboxes_do_not_reach_each_other(home: Home) -> None:
    """They share a network with the control plane, not with one another."""
    one = await home.spawner.launch(home.spec)
    two = await home.spawner.launch(replace(home.spec, sandbox_id="two"))
    networks = (await home.engine.inspect(one.reference))["NetworkSettings"]["Networks"]
    address = networks[f"berth-{home.owner}"]["IPAddress"]
    # A refusal would come from the other sandbox itself; silence comes from the bridge.
    script = (
        "import socket; s = socket.socket(); s.settimeout(0.5)\n"
        f"try: s.connect(('{address}', 9))\nexcept Exception as e: print(type(e).__name__)"
    )
    told = await inside(home, two.reference, f'python3 -c "{script}"')
    assert told in ("TimeoutError", "OSError")


async def test_an_agent_that_cannot_dial_home_dies(home: Home) -> None:
    """Nobody listens at the link: its death is told with the exit status."""
    deaths = home.spawner.deaths()
    await home.spawner.launch(replace(home.spec, link=f"{home.facts.dial_host}:1"))
    death = await anext(deaths)
    assert (death.sandbox_id, death.reason) == ("one", "exit status 1")


async def test_the_last_words_of_an_agent_can_be_kept(home: Home, tmp_path: Path) -> None:
    """With keep_output, its death says why."""
    spawner = DockerSpawner(home.engine, owner=home.owner, data_dir=tmp_path, keep_output=True)
    deaths = spawner.deaths()
    handle = await spawner.launch(replace(home.spec, link=f"{home.facts.dial_host}:1"))
    assert "ConnectionRefusedError" in (await anext(deaths)).reason
    await spawner.destroy(handle)


async def test_memory_is_limited(home: Home) -> None:
    """Swap included: what takes more is killed, and the agent lives on to tell."""
    handle = await home.spawner.launch(replace(home.spec, memory_mb=16))
    await home.hellos.get()
    told = await inside(home, handle.reference, "python3 -c 'bytearray(10**8)' 2>/dev/null; echo $?")
    assert "137" in told.split()  # beside the shell's own `Killed`
    assert (await home.engine.inspect(handle.reference))["State"]["Running"]


async def test_a_cancelled_launch_leaves_nothing(home: Home) -> None:
    """Wherever the engine is when the caller leaves."""
    launch = asyncio.create_task(home.spawner.launch(home.spec))
    while not await home.engine.containers(f"berth={home.owner}"):
        assert not launch.done()
    launch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await launch
    assert await home.engine.containers(f"berth={home.owner}") == []


async def test_the_image_keeps_aws_s_conventions(home: Home) -> None:
    """Paths, user, interpreter and boto3 are where functions expect them; certificates are installed."""
    handle = await home.spawner.launch(home.spec)
    assert await inside(home, handle.reference, "id -u sbx_user1051; id -g sbx_user1051") == "993\n990"
    assert await inside(
        home, handle.reference, "ls /var/runtime/bootstrap /etc/ssl/certs/ca-certificates.crt"
    ) == ("/etc/ssl/certs/ca-certificates.crt\n/var/runtime/bootstrap")
    assert (await inside(home, handle.reference, "/var/lang/bin/python3.11 --version")).startswith(
        "Python 3.11"
    )
    versions = "cd /var/runtime && python3 -c 'import boto3, awslambdaric; print(boto3.__version__)'"
    assert await inside(home, handle.reference, versions) == "1.44.5"
