"""What all peers of one run share: the engine, a network, a place, the handler, and how large a container may be.

Whatever is made for a run carries its label, and `sweep` removes what does.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.programs import finished
from rapid.spawning import GROUP, USER
from runtime.images import RuntimeImages
from runtime.spawners.container import bind, hardening
from runtime.spawners.engine import Engine, EngineError

LABEL = "berth.benchmark"
RUNTIME = "python3.11"
HANDLER = """
import os, time

def handler(event, context):
    time.sleep(event.get("sleep", 0))
    return write(event["write"], event["rate"], event["most"]) if "write" in event else event

def write(seconds, rate, most):
    # Numbered lines for so many seconds, at a rate or at any; how many, and how long it took to get rid of them.
    began, lines = time.perf_counter(), 0
    while (now := time.perf_counter() - began) < seconds and lines < most:
        if rate and lines >= rate * now:
            time.sleep(0.002)
            continue
        os.write(1, b"line %d %s\\n" % (lines, b"x" * 80))
        lines += 1
    return {"lines": lines, "seconds": now}
"""
MEMORY_MB = 1769
"""One whole core, and so the default weight against everything else on the machine: RIE serves inside this limit."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What all peers share in one run."""

    engine: Engine
    images: RuntimeImages
    image: str
    run_id: str
    network: str
    gateway: str
    place: Path
    """A temporary directory that the engine sees; the handler is in `task`."""

    def document(
        self,
        command: Sequence[str],
        *,
        api: str = "",
        memory_mb: int = MEMORY_MB,
        mounts: Sequence[dict[str, Any]] = (),
        **host: Any,
    ) -> dict[str, Any]:
        """A container that runs the handler under `command`, as limited as a sandbox of Berth."""
        return {
            "Image": self.image,
            "Entrypoint": [],
            "Cmd": list(command),
            "Env": [f"{name}={value}" for name, value in variables(api).items()],
            "User": f"{USER}:{GROUP}",
            "WorkingDir": "/var/task",
            "Labels": {LABEL: self.run_id},
            "StopTimeout": 0,
            "HostConfig": {
                "NetworkMode": self.network,
                "Mounts": [
                    {"Type": "volume", "Target": "/tmp"},  # noqa: S108  a place in the container
                    bind(self.place / "task", "/var/task"),
                    *mounts,
                ],
                **hardening(memory_mb, ()),
                **host,
            },
        }

    async def start(self, document: dict[str, Any]) -> str:
        name = f"berth-benchmark-{os.urandom(6).hex()}"
        reference, _ = await finished(self.engine.create(name, document))
        await self.engine.start(reference)
        return reference


def variables(api: str) -> dict[str, str]:
    return {
        "_HANDLER": "app.handler",
        "AWS_LAMBDA_FUNCTION_NAME": "function",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(MEMORY_MB),
        "AWS_LAMBDA_FUNCTION_TIMEOUT": "60",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/function",
        "AWS_LAMBDA_LOG_STREAM_NAME": "stream",
        "AWS_REGION": "us-east-1",
        **({"AWS_LAMBDA_RUNTIME_API": api} if api else {}),
    }


async def address_of(bench: Bench, reference: str) -> str:
    networks = (await bench.engine.inspect(reference))["NetworkSettings"]["Networks"]
    return str(networks[bench.network]["IPAddress"])


async def pid_of(engine: Engine, reference: str) -> int:
    return int((await engine.inspect(reference))["State"]["Pid"])


async def sweep(engine: Engine, label: str) -> None:
    """Remove the containers and networks that carry a label."""
    for each in await engine.containers(label):
        await engine.remove(each["Id"])
    for each in await engine.networks(label):
        with suppress(EngineError):
            await engine.remove_network(each["Id"])
