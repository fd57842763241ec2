"""`berth run`: a function in a container image is started, invoked, and removed; for tests of images in CI.

No control plane takes part: the emulator is put into a container of the image, in front of the image's own entry point,
and asked over a port of this machine; or in a network that both are in, where this command is in a container itself. The
image stays as it is.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime.cli.client import Answer
from runtime.cli.invoke import payload, show
from runtime.cli.terminal import CliError, note
from runtime.images import BUNDLE_PLACE, RuntimeImages
from runtime.settings import Settings, flags_of, load
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine
from runtime.spawners.network import own_container

LABEL = "berth.run"
PORT = "8080/tcp"
PATH = "/2015-03-31/functions/function/invocations"
PULL_LIMIT = 1800.0
START_LIMIT = 60.0
"""Seconds in which somebody must listen in the container."""
EMULATOR_MB = 64
"""Memory that the emulator gets beside the function's."""
LINES = 10_000
"""Of the log, shown at the end."""
_ANY_PORT = [{"HostIp": "127.0.0.1", "HostPort": ""}]


def run(arguments: argparse.Namespace) -> int:
    events = [payload(event_text(text)) for text in arguments.event or ["{}"]]
    try:
        return asyncio.run(_run(arguments, events, load(flags_of(arguments)).settings))
    except SpawnerError as error:
        raise CliError(str(error)) from error


async def _run(arguments: argparse.Namespace, events: Sequence[bytes], settings: Settings) -> int:
    engine = await Engine.connect(settings.docker_host)
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    try:
        image = await _image(engine, arguments.image)
        bundle = await images.bundle(_headline, image.get("Architecture"))
        network = await _own_network(engine)
        async with _container(engine, document(arguments, image, network), bundle) as reference:
            return await _invoke(engine, reference, network, arguments, events)
    finally:
        await images.close()
        await engine.close()


async def _image(engine: Engine, reference: str) -> Mapping[str, Any]:
    """What the engine knows of an image; pulled if it is not here."""
    found = await engine.image(reference)
    if found is None:
        named = reference if ":" in reference.rpartition("/")[2] else f"{reference}:latest"
        note(f"pulling {named}")
        await engine.pull(named, lambda _: None, PULL_LIMIT)
        found = await engine.image(reference)
    if found is None:
        raise CliError(f"there is no image {reference}")
    return found


async def _own_network(engine: Engine) -> str | None:
    """One that this command's own container is in, if it is in one: ports of the engine's machine are not its own."""
    own = await own_container(engine)
    return next(iter((await engine.inspect(own))["NetworkSettings"]["Networks"]), None) if own else None


def document(
    arguments: argparse.Namespace, image: Mapping[str, Any], network: str | None = None
) -> dict[str, Any]:
    """The container: the emulator in front of what the image starts; in the network, or on a port that the engine chooses."""
    config = image.get("Config") or {}
    command = [*(config.get("Entrypoint") or []), *(arguments.arguments or config.get("Cmd") or [])]
    if not command:
        raise CliError(f"{arguments.image} has no ENTRYPOINT and no CMD: name what to start behind the image")
    variables = {
        "AWS_LAMBDA_FUNCTION_TIMEOUT": str(arguments.timeout),
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(arguments.memory),
        "LOG_LEVEL": "error",
    }
    return {
        "Image": arguments.image,
        "Entrypoint": [f"{BUNDLE_PLACE}/bin/aws-lambda-rie"],
        "Cmd": command,
        "Env": [*(f"{name}={value}" for name, value in variables.items()), *(arguments.env or [])],
        "Labels": {LABEL: "1"},
        "ExposedPorts": {PORT: {}},
        "HostConfig": {
            **({"NetworkMode": network} if network else {"PortBindings": {PORT: _ANY_PORT}}),
            "Memory": (arguments.memory + EMULATOR_MB) << 20,
            "LogConfig": {"Type": "json-file"},
        },
    }


@asynccontextmanager
async def _container(engine: Engine, wanted: dict[str, Any], bundle: str) -> AsyncIterator[str]:
    """Started, and removed with its volume whatever happens. A container that never runs carries the bundle to it."""
    mount = {"Type": "volume", "Target": BUNDLE_PLACE}
    carrier, _ = await engine.create(
        "", {"Image": bundle, "Labels": {LABEL: "1"}, "HostConfig": {"Mounts": [mount]}}
    )
    try:
        wanted["HostConfig"]["VolumesFrom"] = [f"{carrier}:ro"]
        reference, _ = await engine.create("", wanted)
        try:
            await engine.start(reference)
            yield reference
        finally:
            await engine.remove(reference)
    finally:
        await engine.remove(carrier)


async def _invoke(
    engine: Engine,
    reference: str,
    network: str | None,
    arguments: argparse.Namespace,
    events: Sequence[bytes],
) -> int:
    failed = False
    host, port = await _address(engine, reference, network)
    await _until_listened(engine, reference, host, port)
    for event in events:
        try:
            answer = await asyncio.to_thread(_post, host, port, event, arguments.timeout + 60)
        except (OSError, HTTPException) as error:
            raise CliError(
                f"the container broke off: {await _last_words(engine, reference) or error}"
            ) from error
        if answer.status != 200:
            raise CliError(f"refused ({answer.status}): {answer.body.decode(errors='replace')}")
        show(answer, as_json=arguments.json, tail=False)
        failed = failed or "X-Amz-Function-Error" in answer.headers
    note((await engine.output(reference, LINES)).rstrip("\n"))
    return 1 if failed else 0


async def _address(engine: Engine, reference: str, network: str | None) -> tuple[str, int]:
    settings = (await engine.inspect(reference))["NetworkSettings"]
    host = str(settings["Networks"][network]["IPAddress"]) if network else ""
    bound = settings["Ports"].get(PORT)
    if not (host or bound):  # it has ended already
        raise CliError(f"the container did not start: {await _last_words(engine, reference)}")
    if host:
        return host, int(PORT.partition("/")[0])
    return urlsplit(engine.endpoint.url).hostname or "127.0.0.1", int(bound[0]["HostPort"])


async def _until_listened(engine: Engine, reference: str, host: str, port: int) -> None:
    """The engine's proxy listens from the start on and hangs up as long as nobody does behind it."""
    end = time.monotonic() + START_LIMIT
    while time.monotonic() < end:
        try:
            is_there = await asyncio.to_thread(_is_there, host, port)
        except (OSError, HTTPException):
            if not (await engine.inspect(reference))["State"]["Running"]:
                break
            await asyncio.sleep(0.02)
        else:
            if is_there:
                return
    raise CliError(f"the container does not answer: {await _last_words(engine, reference)}")


async def _last_words(engine: Engine, reference: str) -> str:
    return " | ".join((await engine.output(reference, 10)).split("\n")).strip(" |")


def _post(host: str, port: int, event: bytes, limit: float) -> Answer:
    """Invoke. With the end of the log, which waits for all of it: it is read from the engine afterwards."""
    with closing(HTTPConnection(host, port, timeout=limit)) as connection:
        connection.request("POST", PATH, event, {"X-Amz-Log-Type": "Tail"})
        response = connection.getresponse()
        return Answer(response.status, dict(response.headers), response.read())


def _is_there(host: str, port: int) -> bool:
    with closing(HTTPConnection(host, port, timeout=START_LIMIT)) as connection:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200


def _headline(line: str) -> None:
    """Of a build only what is built: the rest would bury the function's log."""
    if line.startswith(("building ", "pulling ", "installing ")):
        note(line)


def event_text(text: str) -> str:
    """An event's argument: a file, where there is one of that name, so that `--event e.json` does what it says."""
    return f"@{text}" if not text.startswith(("@", "-", "{", "[")) and Path(text).is_file() else text
