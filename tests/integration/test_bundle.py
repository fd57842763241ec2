"""The bundle in images that offer it nothing: its agent starts there, dials, and starts what it is told to."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from rapid.wire import OUTPUT_HEADER, Frames, Kind, message
from runtime.images import BUNDLE_PLACE, RuntimeImages
from runtime.settings import load
from runtime.spawners.container import bind
from runtime.spawners.engine import Engine

pytestmark = pytest.mark.docker

LABEL = "berth.test-bundle"
ELSEWHERE = "/some where/else"
"""Where the bundle is mounted: not where it was made for."""


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = await Engine.connect(load({}).settings.docker_host)
    yield engine
    for container in await engine.containers(LABEL):
        await engine.remove(container["Id"])
    await engine.close()


@pytest.fixture
async def images(engine: Engine) -> AsyncIterator[RuntimeImages]:
    settings = load({}).settings
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    yield images
    await images.close()


@pytest.fixture
async def scratch(engine: Engine) -> AsyncIterator[str]:
    """An image without anything."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        directory = tarfile.TarInfo("nothing")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
    await engine.load_tree(tar.getvalue(), "berth-test/scratch:1", [])
    yield "berth-test/scratch:1"
    await engine.remove_image("berth-test/scratch:1")


class Sandbox:
    """The other end of an agent's link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.frames = Frames()

    async def heard(self, until: Kind) -> list[tuple[Kind, bytes]]:
        heard: list[tuple[Kind, bytes]] = []
        while not any(kind is until for kind, _ in heard):
            data = await self.reader.read(65536)
            assert data, f"the agent hung up after {heard}"
            heard += self.frames.feed(data)
        return heard


@asynccontextmanager
async def started(engine: Engine, image: str, place: str, **host: object) -> AsyncIterator[Sandbox]:
    """An agent in a container of the image, once it has dialled."""
    dialled: asyncio.Future[Sandbox] = asyncio.get_running_loop().create_future()
    addresses, *_ = (await engine.inspect_network("bridge"))["IPAM"]["Config"]
    # An engine that has made its bridge by itself says only from the next start on which address it took: the first.
    gateway = addresses.get("Gateway") or str(next(ip_network(addresses["Subnet"]).hosts()))
    server = await asyncio.start_server(lambda *ends: dialled.set_result(Sandbox(*ends)), gateway, 0)
    link = f"{gateway}:{server.sockets[0].getsockname()[1]}"
    document = {
        "Image": image,
        "Entrypoint": [f"{place}/bin/agent"],
        "Cmd": [],
        "Env": [f"BERTH_LINK={link}", "BERTH_SANDBOX=one", "BERTH_TOKEN=secret", "LD_PRELOAD=/nowhere.so"],
        "Labels": {LABEL: "1"},
        "HostConfig": {"ReadonlyRootfs": True, **host},
    }
    container, _ = await engine.create("", document)
    await engine.start(container)
    async with server:
        sandbox = await asyncio.wait_for(dialled, 30)
    [(kind, hello)] = await sandbox.heard(Kind.HELLO)
    assert (kind, json.loads(hello)) == (Kind.HELLO, {"sandbox": "one", "token": "secret"})
    try:
        yield sandbox
    finally:
        sandbox.writer.close()
        await sandbox.writer.wait_closed()


async def test_the_agent_runs_where_there_is_nothing(
    engine: Engine, images: RuntimeImages, scratch: str, tmp_path: Path
) -> None:
    """1. The bundle is exported. 2. It is mounted into an empty image, anywhere. 3. Its agent starts a program."""
    exported = await images.exported(tmp_path, print)
    assert await images.exported(tmp_path, print) == exported
    python = [f"{ELSEWHERE}/lib/ld.so", "--library-path", f"{ELSEWHERE}/lib", f"{ELSEWHERE}/bin/python3"]
    program = [*python, "-I", "-S", "-c", "import os; print(os.getuid(), os.environ)"]
    async with started(engine, scratch, ELSEWHERE, Mounts=[bind(exported, ELSEWHERE)]) as sandbox:
        sandbox.writer.write(message(Kind.START, process=7, argv=program, env={"A": "1"}, cwd="/"))
        heard = await sandbox.heard(Kind.EXITED)
    [output] = [payload for kind, payload in heard if kind is Kind.OUTPUT]
    assert output[OUTPUT_HEADER.size :].startswith(b"993 environ({'A': '1'")


async def test_a_volume_takes_the_bundle_to_engines_elsewhere(
    engine: Engine, images: RuntimeImages, scratch: str
) -> None:
    """1. A container of the bundle's image that never runs fills a volume. 2. The volume serves another image."""
    image = await images.bundle(print)
    mount = {"Type": "volume", "Target": BUNDLE_PLACE}
    holder, _ = await engine.create(
        "", {"Image": image, "Labels": {LABEL: "1"}, "HostConfig": {"Mounts": [mount]}}
    )
    async with started(engine, scratch, BUNDLE_PLACE, VolumesFrom=[f"{holder}:ro"]) as sandbox:
        sandbox.writer.write(message(Kind.LIST, path=f"{BUNDLE_PLACE}/bin"))
        [(_, listed)] = await sandbox.heard(Kind.LISTED)
    assert json.loads(listed)["names"] == ["agent", "aws-lambda-rie", "python3"]
