"""Functions for the processor that the engine's machine is not: built, run, and refused. Needs an emulator in its kernel."""

import json
import os
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from runtime.base_image import BaseImages
from runtime.images import RuntimeImages, tar_of
from runtime.processors import Processors
from runtime.spawners.engine import Engine
from runtime.tiny_programs import STATUS, program
from tests.helpers.function_images import on_the_engine
from tests.integration.conftest import BERTH, Berth

pytestmark = pytest.mark.docker

RUNTIME = "provided.al2023"
NODE = "nodejs22.x"
WANTED = "BERTH_TEST_EMULATION"
"""Set, these tests fail where they could not run."""
OTHER = {"amd64": ("arm64", "arm64", "aarch64"), "arm64": ("amd64", "x86_64", "x86_64")}
"""By the engine's processor: the other one's name, Lambda's name for it, and the kernel's."""

BOOTSTRAP = """\
#!/usr/bin/python3
import http.client, json, os, subprocess

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def call(method, path, body=None):
    api.request(method, "/2018-06-01/runtime/invocation/" + path, body)
    answer = api.getresponse()
    return answer.headers, answer.read()

while True:
    headers, event = call("GET", "next")
    id = headers["Lambda-Runtime-Aws-Request-Id"]
    if event == b'"raise"':
        call("POST", id + "/error", b'{"errorType": "Asked", "errorMessage": "for"}')
        continue
    answer = {"machine": os.uname().machine, "shell": subprocess.check_output(["uname", "-m"], text=True).strip()}
    if os.path.exists("/opt/bin/tiny"):
        answer["layer"] = subprocess.call(["/opt/bin/tiny"])
    print("on " + answer["machine"], flush=True)
    call("POST", id + "/response", json.dumps(answer))
"""


NODE_FUNCTION = """\
import { S3Client } from "@aws-sdk/client-s3";

export const handler = async (event) => {
  console.log("in Node.js");
  return { arch: process.arch, event, client: typeof S3Client };
};
"""


@pytest.fixture(scope="module")
def other() -> tuple[str, str, str]:
    """The processor that is emulated. Skips where none is, unless somebody has said that there is."""

    async def look(engine: Engine) -> tuple[str, bool]:
        processors = Processors(engine)
        own = processors.own
        return own, await processors.run(OTHER[own][0])

    own, runs = on_the_engine(look)
    if not runs and not os.environ.get(WANTED):
        pytest.skip(f"the engine's machine runs no programs for {OTHER[own][0]} (`make emulation`)")
    assert runs, f"{WANTED} is set, but the engine's machine runs no programs for {OTHER[own][0]}"
    return OTHER[own]


@pytest.fixture(scope="module")
def berth(other: tuple[str, str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A control plane; the runtime's image is built before."""
    subprocess.run(
        [str(BERTH), "images", "build", "--architecture", other[1], RUNTIME, NODE], check=True, timeout=3600
    )
    started = Berth(tmp_path_factory.mktemp("berth") / "data", "docker")
    started.start()
    yield started
    started.stop()


@pytest.fixture
def package(zip_of: Callable[..., bytes]) -> bytes:
    return zip_of({"bootstrap": BOOTSTRAP}, {"bootstrap": 0o755})


@pytest.fixture(scope="module")
def image(berth: Berth, other: tuple[str, str, str]) -> Iterator[str]:
    """A function in an image for the other processor."""
    reference = "berth-test/emulated:1"

    async def build(engine: Engine) -> None:
        images = RuntimeImages(engine)
        base = await images.ensure(RUNTIME, print, processor=other[0])
        files = {
            "Dockerfile": (
                b'ARG BASE\nFROM ${BASE}\nCOPY bootstrap /bootstrap\nENTRYPOINT ["/bootstrap"]\n',
                0o644,
            ),
            "bootstrap": (BOOTSTRAP.encode(), 0o755),
        }
        await engine.build(tar_of(files), reference, {"BASE": base}, {}, print, platform=f"linux/{other[0]}")

    on_the_engine(build)
    yield reference
    on_the_engine(lambda engine: engine.remove_image(reference))


def test_a_package(
    berth: Berth, name: str, package: bytes, zip_of: Callable[..., bytes], other: tuple[str, str, str]
) -> None:
    """It sees the processor that it asked for, as do compiled programs in its layer; its errors are as everywhere."""
    processor, architecture, machine = other
    content = zip_of({"bin/tiny": program(processor)}, {"bin/tiny": 0o755})
    layer = berth.client.publish_layer_version(
        LayerName=name,
        Content={"ZipFile": content},
        CompatibleArchitectures=[architecture],
    )
    berth.deploy(
        name,
        package,
        Runtime=RUNTIME,
        Handler="any.thing",
        Architectures=[architecture],
        Layers=[layer["LayerVersionArn"]],
        Timeout=60,
    )
    for _ in range(2):
        answer = berth.invoke(name, {})
        assert answer.payload == {"machine": machine, "shell": machine, "layer": STATUS}
        assert f"on {machine}" in answer.log
    failed = berth.invoke(name, "raise")
    assert (failed.error, failed.payload) == ("Unhandled", {"errorType": "Asked", "errorMessage": "for"})
    told = berth.client.get_function_configuration(FunctionName=name)
    assert told["Architectures"] == [architecture]


def test_a_runtime_with_compiled_parts(
    berth: Berth, name: str, zip_of: Callable[..., bytes], other: tuple[str, str, str]
) -> None:
    """Its client has been compiled here for the other processor; the function has the SDK, and what it logs is logged."""
    _, architecture, _ = other
    package = zip_of({"index.mjs": NODE_FUNCTION})
    berth.deploy(
        name,
        package,
        Runtime=NODE,
        Handler="index.handler",
        Architectures=[architecture],
        Timeout=120,
        MemorySize=1769,
    )
    for turn in range(2):
        answer = berth.invoke(name, turn)
        assert answer.payload == {
            "arch": architecture.replace("x86_64", "x64"),
            "event": turn,
            "client": "function",
        }
        assert "in Node.js" in answer.log


def test_beside_one_for_the_machine_s_own(berth: Berth, name: str, package: bytes) -> None:
    """Neither is served by the other's sandboxes."""
    machine = platform.machine()
    own = {"aarch64": "arm64"}.get(machine, machine)
    berth.deploy(name, package, Runtime=RUNTIME, Handler="any.thing", Architectures=[own])
    assert berth.invoke(name, {}).payload["machine"] == machine


def test_a_container_image(berth: Berth, name: str, image: str, other: tuple[str, str, str]) -> None:
    """It runs, and is taken for no other architecture than its own."""
    _, architecture, machine = other
    members: dict[str, Any] = {
        "FunctionName": name,
        "PackageType": "Image",
        "Code": {"ImageUri": image},
        "Role": "arn:aws:iam::123456789012:role/any",
        "Timeout": 60,
    }
    wrong = {"arm64": "x86_64", "x86_64": "arm64"}[architecture]
    with pytest.raises(
        ClientError, match=f"is for the architecture {architecture}, the function for {wrong}"
    ):
        berth.client.create_function(**members, Architectures=[wrong])
    berth.client.create_function(**members, Architectures=[architecture])
    berth.client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 1})
    assert berth.invoke(name, {}).payload == {"machine": machine, "shell": machine}
    berth.client.delete_function(FunctionName=name)


def test_without_a_control_plane(image: str, other: tuple[str, str, str]) -> None:
    """`berth run` brings the emulator of the image's processor: interpreter, libraries and its small program for that."""
    ran = subprocess.run([str(BERTH), "run", image], capture_output=True, text=True, timeout=900, check=False)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {"machine": other[2], "shell": other[2]}


def test_a_base_of_packages_says_its_processor(other: tuple[str, str, str]) -> None:
    """Builders look at that, and refuse what is for another."""

    async def look(engine: Engine) -> Any:
        bases = BaseImages(engine, Path("unused"))
        return await engine.image(await bases.ensure("bookworm", print, other[0]))

    assert on_the_engine(look)["Architecture"] == other[0]


def test_not_to_be_emulated(
    new_berth: Callable[..., Berth], name: str, package: bytes, other: tuple[str, str, str]
) -> None:
    """By a setting, packages run on the machine's own processor whatever they say."""
    berth = new_berth("docker", "--emulation", "off")
    berth.start()
    berth.deploy(name, package, Runtime=RUNTIME, Handler="any.thing", Architectures=[other[1]])
    assert berth.invoke(name, {}).payload["machine"] == platform.machine()
