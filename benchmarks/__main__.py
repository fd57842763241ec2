"""`python -m benchmarks`: Berth beside AWS's RIE and beside the floor, on one machine, in one run.

Needs a container engine, and root for the memory of processes in containers. What is measured is in `measures`, part
by part, who is measured in `plane` and `peers`; nothing is asserted. Everything made on the way is removed in the end,
on Ctrl-C too.

    python -m benchmarks [--quick] [--json] [--only PART,…] [--berth COMMAND]
"""

import argparse
import asyncio
import json
import os
import platform
import secrets
import shlex
import shutil
import signal
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

from benchmarks import measures, peers
from benchmarks.bench import HANDLER, LABEL, RUNTIME, Bench, sweep
from benchmarks.figures import Findings
from benchmarks.measures.run import FULL, QUICK, Run
from benchmarks.programs import Failed
from runtime.images import RuntimeImages
from runtime.settings import load
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine
from runtime.spawners.network import ICC, MASQUERADE


def main() -> int:
    arguments = parser().parse_args()
    try:
        findings = asyncio.run(_run(arguments))
    except (SpawnerError, Failed) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("benchmarks: stopped, and cleaned up", file=sys.stderr)
        return 130
    print(json.dumps(findings.document(), indent=1) if arguments.json else findings.table())
    return 1 if findings.failures else 0


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__.partition("\n")[0],
        epilog=f"parts: {', '.join(measures.PARTS)}",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="fewer and shorter rounds: less than four minutes instead of twelve",
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--only",
        type=_parts,
        action="extend",
        metavar="PART[,PART…]",
        help="measure only these; may be given more than once",
    )
    parser.add_argument(
        "--berth", default=f"{sys.executable} -m runtime.cli", help="the command that is Berth"
    )
    return parser


def _parts(text: str) -> list[str]:
    names = text.split(",")
    if unknown := [name for name in names if name not in measures.PARTS]:
        raise argparse.ArgumentTypeError(
            f"no part is called {unknown[0]!r}; there are {', '.join(measures.PARTS)}"
        )
    return names


async def _run(arguments: argparse.Namespace) -> Findings:
    if task := asyncio.current_task():
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    findings = Findings()
    async with _bench() as bench:
        findings.machine = _machine(bench.engine)
        run = Run(
            bench=bench,
            findings=findings,
            extent=QUICK if arguments.quick else FULL,
            command=shlex.split(arguments.berth),
            rie=await _place_rie(bench, findings),
            parts=arguments.only or measures.PARTS,
            say=_say,
        )
        await measures.all_of(run)
    return findings


@asynccontextmanager
async def _bench() -> AsyncIterator[Bench]:
    settings = load({}).settings
    engine = await Engine.connect(settings.docker_host)
    run_id = secrets.token_hex(4)
    place = _place()
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    try:
        image = await images.ensure(RUNTIME, _say)
        name = f"berth-benchmark-{run_id}"
        await engine.create_network(name, {ICC: "false", MASQUERADE: "true"}, {LABEL: run_id})
        gateway = (await engine.inspect_network(name))["IPAM"]["Config"][0]["Gateway"]
        yield Bench(engine, images, image, run_id, name, gateway, place)
    finally:
        await images.close()
        await sweep(engine, f"{LABEL}={run_id}")
        await engine.close()
        shutil.rmtree(place, ignore_errors=True)


def _place() -> Path:
    place = Path(tempfile.mkdtemp(prefix="berth-benchmarks-"))
    place.chmod(0o755)  # the function's user reads below it
    (place / "task").mkdir()
    (place / "task" / "app.py").write_text(HANDLER)
    return place


async def _place_rie(bench: Bench, findings: Findings) -> bool:
    try:
        binary = await peers.rie_binary()
        await asyncio.to_thread(shutil.copy2, binary, bench.place / "rie")
    except (Failed, OSError) as error:
        findings.fail("RIE, left out of everything", str(error))
        return False
    return True


def _machine(engine: Engine) -> dict[str, str]:
    cores = len(os.sched_getaffinity(0))
    versions = {name: metadata.version(name) for name in ("aiohttp", "uvloop", "boto3")}
    return {
        "machine": (
            f"{cores} cores, {platform.system()} {platform.release()}, {engine.facts.title}; load "
            f"{os.getloadavg()[0]:.1f} before the run"
        ),
        # Which build: one without profile-guided optimisation, as pyenv makes them, is slower by a third.
        "programs": f"Python {platform.python_version()} of {sys.base_prefix}, {', '.join(' '.join(each) for each in versions.items())}",
        "method": (
            "load generator, control plane and containers share the cores; peers take turns in rounds; "
            "values are medians over rounds, ratios are taken within rounds"
        ),
    }


def _say(line: str) -> None:
    print(f"... {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
