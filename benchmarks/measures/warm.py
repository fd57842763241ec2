"""Warm latency: beside RIE and the floor, with pauses, with boto3 itself, with a subscriber to telemetry."""

import asyncio
import json
from collections import defaultdict
from collections.abc import Mapping
from contextlib import AsyncExitStack

from benchmarks.asking import Target, answered, ask
from benchmarks.measures.run import Run
from benchmarks.measures.turns import add_latencies, all_peers, rotated, rounds
from benchmarks.plane import Berth
from benchmarks.programs import python


async def warm(run: Run, _: Berth, target: Target) -> None:
    """One client, one request after the other."""
    async with AsyncExitStack() as held:
        targets = await all_peers(run, held, target)
        results = await rounds(run, targets, clients=1)
        if "RIE" in targets:
            await _second_request(run, targets["RIE"])
    add_latencies(run, "warm, 1 client", results, {"p50": "< RIE, <= 1.5 x floor", "p99": "< RIE"})


async def paced(run: Run, _: Berth, target: Target) -> None:
    """One client that leaves 20 ms between requests, so that Berth freezes the environment and thaws it."""
    async with AsyncExitStack() as held:
        targets = await all_peers(run, held, target)
        results = await rounds(run, targets, clients=1, pause=0.02, count=run.extent.some)
    add_latencies(run, "warm, 1 client, every 20 ms", results, {})


async def with_boto3(run: Run, _: Berth, target: Target) -> None:
    """For information: most of this is boto3's own time."""
    async with AsyncExitStack() as held:
        targets = await all_peers(run, held, target)
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for number in range(run.extent.few):
            for peer in rotated(list(targets), number):
                each = targets[peer]
                out = await python("benchmarks.sdk", each.url, each.function, str(run.extent.seconds))
                found[peer].append(json.loads(out))
    for quantile in ("p50", "p99"):
        values = {peer: [each[quantile] for each in results] for peer, results in found.items()}
        run.findings.add(f"warm, boto3, {quantile}", "ms", values)


EXTENSION = """\
#!/var/lang/bin/python3
import http.client, http.server, json, os, threading

api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
headers = {{"Lambda-Extension-Name": "agent"}}

def call(method, path, document=None):
    api.request(method, path, document and json.dumps(document), headers)
    answer = api.getresponse()
    answer.read()
    assert answer.status == 200
    return answer.headers

class Listener(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

name = "Lambda-Extension-Identifier"
headers[name] = call("POST", "/2020-01-01/extension/register", {{"events": []}})[name]
if {subscribes}:
    server = http.server.HTTPServer(("sandbox.localdomain", 8080), Listener)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    destination = {{"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080"}}
    types = ["platform", "function", "extension"]
    call("PUT", "/2022-07-01/telemetry", {{
        "schemaVersion": "2022-07-01", "types": types, "destination": destination, "buffering": {{"timeoutMs": 100}},
    }})
call("GET", "/2020-01-01/extension/event/next")
"""


def _extension(*, subscribes: bool) -> Mapping[str, str]:
    return {"extensions/agent": EXTENSION.format(subscribes=subscribes)}


async def telemetry(run: Run, plane: Berth, alone: Target) -> None:
    """What a subscriber costs: beside an extension that does nothing, and beside none at all."""
    targets = {
        "Berth": await plane.function("subscriber", layer=_extension(subscribes=True)),
        "extension": await plane.function("extension", layer=_extension(subscribes=False)),
        "alone": alone,
    }
    for target in targets.values():
        await answered(target, target.request())
    results = await rounds(run, targets, clients=1, count=run.extent.some)
    add_latencies(run, "warm, 1 client, with a subscriber to telemetry", results, {})
    for figure in run.findings.figures[-2:]:
        beside = ", ".join(f"{ratio:.2f} x {peer}" for peer, ratio in figure.ratios.items())
        run.findings.note(f"{figure.name}: {beside}")


async def _second_request(run: Run, target: Target) -> None:
    """What RIE does with a request while it serves another one."""
    slow = b'{"sleep": 1}'
    first = asyncio.create_task(ask(target, target.request(slow)))
    await asyncio.sleep(0.3)
    said = []
    for wait in (0, 1.5):
        await asyncio.sleep(wait)
        try:
            async with asyncio.timeout(5):
                status, body = await ask(target, target.request())
            said.append(f"status {status} {body[:60].decode(errors='replace').strip()!r}")
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            said.append(f"no answer ({type(error).__name__})")
    try:
        async with asyncio.timeout(5):
            outcome = f"status {(await first)[0]}"
    except (OSError, EOFError, ValueError, TimeoutError) as error:
        outcome = f"no answer ({type(error).__name__})"
    run.findings.note(
        f"RIE with a second request beside a running one: that one got {said[0]}, the first {outcome}, "
        f"one after both {said[1]}"
    )
