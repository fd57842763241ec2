"""What is measured, and how: each function takes the run's bench, measures peers in turns, adds to the findings.

Peers take turns within a round, in another order in each round, so that what the machine does meanwhile hits all
alike; ratios are taken within rounds.
"""

import asyncio
import functools
import json
import shutil
import sys
import time
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import floods, peers, streaming
from benchmarks.figures import Findings
from benchmarks.load import Job, Result
from benchmarks.peers import Bench, Berth, Failed, Target
from benchmarks.sdk import PAYLOAD
from runtime.spawners.engine import EngineError

KNOWN = (Failed, EngineError, OSError, TimeoutError)
PARTS = ("start", "warm", "paced", "boto3", "telemetry", "throughput", "memory", "stream", "logs", "cold")


@dataclass(frozen=True, slots=True)
class Extent:
    """How much is measured. `seconds` of load per peer and round."""

    rounds: int
    seconds: float
    crowds: Sequence[int]
    cold: int
    starts: int


FULL = Extent(rounds=9, seconds=2.0, crowds=(8, 32), cold=9, starts=5)
QUICK = Extent(rounds=3, seconds=1.0, crowds=(8,), cold=3, starts=1)


@dataclass(slots=True)
class Run:
    """One run of the benchmark."""

    bench: Bench
    findings: Findings
    extent: Extent
    command: Sequence[str]
    rie: bool
    """Whether RIE's binary is there."""
    parts: Sequence[str]
    """Those of `PARTS` to measure."""
    say: Callable[[str], None]

    async def measure(self, part: str, what: str, measurement: Callable[[], Awaitable[None]]) -> None:
        """Take a measurement if it is wanted; one that fails is reported and the others go on."""
        if part not in self.parts:
            return
        self.say(what)
        try:
            await measurement()
        except Exception as error:  # noqa: BLE001  whatever it is, it is told with the figures
            self.fail(what, error)

    def fail(self, what: str, error: BaseException) -> None:
        self.findings.failures.append(f"{what}: {type(error).__name__}: {error}")


async def all_of(run: Run) -> None:
    """Everything that is wanted, in an order that lets one control plane serve all but the starts."""
    await run.measure("start", "start of the control plane", lambda: start(run))
    if set(run.parts) == {"start"}:
        return
    try:
        async with peers.berth(run.bench, run.command) as plane:
            await under_load(run, plane)
    except Exception as error:  # noqa: BLE001  as above
        run.fail("Berth, and all that was still to be measured", error)


# Control plane alone


async def start(run: Run) -> None:
    """From the start of the process, on an empty data directory, to the first answered request."""
    times, sizes = [], []
    for number in range(run.extent.starts):
        began = time.perf_counter()
        async with peers.berth(run.bench, run.command, f"start-{number}") as plane:
            await _list_functions(plane)
            times.append(time.perf_counter() - began)
            await asyncio.sleep(2)  # it looks around in the background; then it is idle
            sizes.append(resident(plane.pid))
    run.findings.add("control plane, start to first answer", "s", {"Berth": times}, "< 1")
    run.findings.add("control plane, idle, RSS", "MB", {"Berth": [rss for rss, _ in sizes]}, "< 80")
    run.findings.add("control plane, idle, PSS", "MB", {"Berth": [pss for _, pss in sizes]})


async def _list_functions(plane: Berth) -> None:
    host, _, port = plane.url.removeprefix("http://").rpartition(":")
    request = b"GET /2015-03-31/functions/ HTTP/1.1\r\nHost: %b\r\n\r\n" % host.encode()
    status, body = await peers.ask(Target(host, int(port)), request)
    if status != 200:
        raise Failed(f"ListFunctions was answered {status}: {body[:200].decode(errors='replace')}")


# Under load


async def under_load(run: Run, plane: Berth) -> None:
    target = await plane.function("echo")
    await peers.answered(target, target.request())
    await run.measure("warm", "warm latency", lambda: warm(run, target))
    await run.measure("paced", "warm latency, frozen in between", lambda: paced(run, target))
    await run.measure("boto3", "warm latency with boto3", lambda: with_boto3(run, target))
    await run.measure(
        "telemetry", "warm latency with a subscriber to telemetry", lambda: telemetry(run, plane, target)
    )
    for clients in run.extent.crowds:
        several = functools.partial(throughput, run, target, clients)
        await run.measure("throughput", f"throughput, {clients} clients", several)
    await run.measure("memory", "memory", lambda: memory(run, plane))
    await run.measure("stream", "response streaming", lambda: stream(run, plane))
    await run.measure("logs", "floods of log lines", lambda: logs(run, plane, target))
    await run.measure("cold", "cold start", lambda: cold(run, plane))


async def warm(run: Run, target: Target) -> None:
    """One client, one request after the other."""
    async with AsyncExitStack() as held:
        targets = await _peers(run, held, target)
        results = await rounds(run, targets, clients=1)
        if "RIE" in targets:
            await _second_request(run, targets["RIE"])
    add_latencies(run, "warm, 1 client", results, {"p50": "< RIE, <= 1.5 x floor", "p99": "< RIE"})


async def paced(run: Run, target: Target) -> None:
    """One client that leaves 20 ms between requests, so that Berth freezes the environment and thaws it."""
    async with AsyncExitStack() as held:
        targets = await _peers(run, held, target)
        results = await rounds(run, targets, clients=1, pause=0.02)
    add_latencies(run, "warm, 1 client, every 20 ms", results, {})


async def _peers(run: Run, held: AsyncExitStack, target: Target) -> dict[str, Target]:
    """Berth and what could be brought up beside it, each with one environment."""
    targets = {"Berth": target}
    if run.rie:
        try:
            targets["RIE"], _ = await held.enter_async_context(peers.rie(run.bench))
        except KNOWN as error:
            run.fail("RIE", error)
    try:
        targets["floor"] = await held.enter_async_context(peers.floor_with(run.bench, 1))
    except KNOWN as error:
        run.fail("floor", error)
    return targets


async def throughput(run: Run, target: Target, clients: int) -> None:
    """So many clients at once. RIE takes no part: it refuses a second request."""
    async with peers.floor_with(run.bench, clients) as floor:
        targets = {"Berth": target, "floor": floor}
        results = await rounds(run, targets, clients=clients)
    rates = {peer: [each.rate for each in found] for peer, found in results.items()}
    errors = {peer: [float(sum(each.errors for each in found))] for peer, found in results.items()}
    run.findings.add(f"throughput, {clients} clients", "/s", rates, ">= 0.5 x floor")
    add_latencies(run, f"latency, {clients} clients", results, {})
    run.findings.add(f"errors, {clients} clients", "requests", errors, "0")


async def rounds(
    run: Run, targets: Mapping[str, Target], *, clients: int, pause: float = 0.0
) -> dict[str, list[Result]]:
    """Load for each target in turns, after one unmeasured turn each. A target that fails is out, and reported."""
    requests = {peer: target.request() for peer, target in targets.items()}
    results: dict[str, list[Result]] = defaultdict(list)
    left = list(targets)
    for number in range(run.extent.rounds + 1):
        for peer in _rotated(left, number):
            result = await _load(targets[peer], requests[peer], run.extent.seconds, clients, pause)
            if not result.answers or (result.errors and peer != "Berth"):
                run.fail(f"{peer}, {clients} clients", Failed(result.first_error))
                left.remove(peer)
                results.pop(peer, None)
            elif result.errors:
                run.fail(
                    f"{peer}, {clients} clients", Failed(f"{result.errors} errors: {result.first_error}")
                )
            if number and peer in left:
                results[peer].append(result)
    return dict(results)


def _rotated(names: Sequence[str], by: int) -> list[str]:
    turn = by % len(names) if names else 0
    return [*names[turn:], *names[:turn]]


async def _load(target: Target, request: bytes, seconds: float, clients: int, pause: float) -> Result:
    job = Job(
        host=target.host,
        port=target.port,
        request=peers.encoded(request),
        expected=peers.encoded(PAYLOAD),
        clients=clients,
        seconds=seconds,
        pause=pause,
    )
    out = await _python("benchmarks.load", stdin=json.dumps(asdict(job)).encode())
    return Result(**json.loads(out))


async def _python(module: str, *arguments: str, stdin: bytes = b"") -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, stdin=PIPE, stdout=PIPE, stderr=PIPE
    )
    try:
        out, err = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise Failed(f"{module}: {err.decode(errors='replace').strip()[-400:]}")
    return out.decode()


def add_latencies(
    run: Run, name: str, results: Mapping[str, Sequence[Result]], targets: Mapping[str, str]
) -> None:
    for quantile in ("p50", "p99"):
        values = {peer: [float(getattr(each, quantile)) for each in found] for peer, found in results.items()}
        run.findings.add(f"{name}, {quantile}", "ms", values, targets.get(quantile, ""))


async def with_boto3(run: Run, target: Target) -> None:
    """For information: most of this is boto3's own time."""
    async with AsyncExitStack() as held:
        targets = await _peers(run, held, target)
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for number in range(max(1, run.extent.rounds // 3)):
            for peer in _rotated(list(targets), number):
                each = targets[peer]
                out = await _python("benchmarks.sdk", each.url, each.function, str(run.extent.seconds))
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
        await peers.answered(target, target.request())
    results = await rounds(run, targets, clients=1)
    add_latencies(run, "warm, 1 client, with a subscriber to telemetry", results, {})
    for figure in run.findings.figures[-2:]:
        beside = ", ".join(f"{ratio:.2f} x {peer}" for peer, ratio in figure.ratios.items())
        run.findings.note(f"{figure.name}: {beside}")


async def _second_request(run: Run, target: Target) -> None:
    """What RIE does with a request while it serves another one."""
    slow = b'{"sleep": 1}'
    first = asyncio.create_task(peers.ask(target, target.request(slow)))
    await asyncio.sleep(0.3)
    said = []
    for wait in (0, 1.5):
        await asyncio.sleep(wait)
        try:
            async with asyncio.timeout(5):
                status, body = await peers.ask(target, target.request())
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


# Logs


async def logs(run: Run, plane: Berth, target: Target) -> None:
    """A function that floods its log: what arrives, what the control plane takes, what its neighbour feels."""

    def load(seconds: float) -> Awaitable[Result]:
        return _load(target, target.request(), seconds, 1, floods.PAUSE)

    found: dict[str, list[Result]] = defaultdict(list)
    rates = {"promised": floods.PROMISED, "full speed": 0}
    measured: dict[str, list[floods.Flood]] = {name: [] for name in rates}
    for number in range(max(1, run.extent.rounds // 3)):
        found["no flood"].append(await load(run.extent.seconds))
        for name, rate in rates.items():
            function = f"flood-{name.replace(' ', '-')}-{number}"
            each = await floods.flood(plane, function, load, 2 * run.extent.seconds, rate)
            measured[name].append(each)
            found[name].append(each.neighbour)
    for name, several in measured.items():
        lost = float(sum(each.lost for each in several))
        memory = [each.memory_mb for each in several]
        run.findings.add(f"log lines, {name}", "/s", {"Berth": [each.rate for each in several]})
        run.findings.add(f"log lines lost, {name}", "lines", {"Berth": [lost]}, "0")
        run.findings.add(f"control plane, flood at {name}, most RSS", "MB", {"Berth": memory})
    for name, results in found.items():
        add_latencies(run, f"a neighbour every 5 ms, {name}", {"Berth": results}, {})


# Memory


def resident(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process in MB."""
    found = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) / 1024
    return found["Rss"], found["Pss"]


async def memory(run: Run, plane: Berth) -> None:
    """The control plane after the load, and what an idle environment costs beside the runtime process: its agent.

    For RIE that is RIE itself.
    """
    rss, pss = resident(plane.pid)
    run.findings.add("control plane, after the load, RSS", "MB", {"Berth": [rss]})
    run.findings.add("control plane, after the load, PSS", "MB", {"Berth": [pss]})
    agents = [resident(pid) for pid in await plane.agents()]
    found: dict[str, list[tuple[float, float]]] = {"Berth": agents}
    if run.rie:
        async with peers.rie(run.bench) as (target, reference):
            await peers.answered(target, target.request())
            found["RIE"] = [resident(await peers.pid_of(run.bench.engine, reference))]
    for index, kind in enumerate(("RSS", "PSS")):
        values = {peer: [each[index] for each in pairs] for peer, pairs in found.items()}
        run.findings.add(
            f"per idle environment beside the runtime, {kind}", "MB", values, ("", "< 10")[index]
        )
    run.findings.note(f"environments at the end of the load: {len(agents)}")


# Response streaming

STREAM_LIMIT = 200 * 1024 * 1024


async def stream(run: Run, plane: Berth) -> None:
    """From a chunk's write to its arrival; and as much as a stream may hold, with what it costs in memory."""
    target = await plane.function("stream", streaming.FILES, streaming.VARIABLES)
    await _streamed(target, 1, 64, 0.0)  # the cold start
    slow = [await _streamed(target, 200, 64, 0.005) for _ in range(run.extent.rounds)]
    for quantile in ("p50", "p99", "most"):
        values = {"Berth": [each[quantile] for each in slow]}
        run.findings.add(f"stream, write to arrival, {quantile}", "ms", values, "< 50")
    idle, _ = resident(plane.pid)
    rates, peaks = [], []
    for _ in range(run.extent.rounds):
        _forget_peak(plane.pid)
        fast = await _streamed(target, 200, STREAM_LIMIT // 200, 0.0)
        rates.append(fast["bytes"] / 1e6 / fast["seconds"])
        peaks.append(_peak(plane.pid) - idle)
    run.findings.add("stream, 200 MB through", "MB/s", {"Berth": rates})
    run.findings.add("control plane, 200 MB through, RSS beyond before", "MB", {"Berth": peaks}, "< 64")


async def _streamed(target: Target, chunks: int, size: int, pause: float) -> dict[str, float]:
    arguments = (target.url, target.function, str(chunks), str(size), str(pause))
    found: dict[str, float] = json.loads(await _python("benchmarks.streaming", *arguments))
    return found


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> float:
    """The most memory that a process has had, in MB, since that was last forgotten."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


# Cold starts


async def cold(run: Run, plane: Berth) -> None:
    """A new function's first invoke to its answer: in a sandbox that stood by; with a network made ahead; with neither.

    Beside it a bare container with the runtime, and `docker run` of the image with RIE.
    """
    nothing = {"BERTH_STANDBY": "false", "BERTH_SPARE_NETWORKS": "0"}
    async with AsyncExitStack() as held:
        network = await held.enter_async_context(
            peers.berth(run.bench, run.command, "network", BERTH_STANDBY="false")
        )
        alone = await held.enter_async_context(peers.berth(run.bench, run.command, "alone", **nothing))
        ways: dict[str, Callable[[int], Awaitable[float]]] = {
            "from standby": lambda number: _cold_berth(plane, number, standby=True),
            "with a network made ahead": lambda number: _cold_berth(network, number, standby=False),
            "with nothing ahead": lambda number: _cold_berth(alone, number, standby=False),
            "floor": lambda _: _cold_floor(run.bench),
            "engine": lambda _: _cold_engine(run.bench),
        }
        mine = list(ways)[:3]
        if run.rie and shutil.which("docker"):
            ways["RIE"] = lambda _: _cold_rie(run.bench)
        elif run.rie:
            run.fail("cold start of RIE", Failed("there is no docker command"))
        found: dict[str, list[float]] = {peer: [] for peer in ways}
        for number in range(run.extent.cold + 1):
            for peer in _rotated(list(ways), number):
                seconds = await ways[peer](number)
                if number:
                    found[peer].append(1000 * seconds)
    engine = found.pop("engine")
    times = {way: found.pop(way) for way in mine}
    targets = dict(zip(mine, ("<= 1/3 RIE", "<= floor + 30 ms", "<= floor + 30 ms"), strict=True))
    for way in mine:
        run.findings.add(f"cold start {way}", "ms", {"Berth": times[way], **found}, targets[way])
    pairs = zip(times[mine[-1]], found["floor"], strict=True)
    beyond = [whole - floor for whole, floor in pairs]
    run.findings.add(f"cold start {mine[-1]}, beyond the floor", "ms", {"Berth": beyond}, "<= 30")
    run.findings.add("engine's create + start alone", "ms", {"floor": engine})


async def _cold_berth(plane: Berth, number: int, *, standby: bool) -> float:
    target = await plane.function(f"cold-{number}")
    while standby and not await plane.stands_by():  # noqa: ASYNC110  there is no event to wait for
        await asyncio.sleep(0.1)
    return await _timed(peers.answered(target, target.request()))


async def _cold_floor(bench: Bench) -> float:
    """Engine's create and start, the runtime's own boot, the answer."""
    async with peers.floor(bench) as (target, api):
        request = target.request()
        answer = asyncio.create_task(peers.answered(target, request))
        began = time.perf_counter()
        reference = await bench.start(peers.floor_document(bench, api))
        try:
            async with asyncio.timeout(peers.START_LIMIT):
                await answer
            return time.perf_counter() - began
        finally:
            answer.cancel()
            await bench.engine.remove(reference)


async def _cold_engine(bench: Bench) -> float:
    began = time.perf_counter()
    reference = await bench.start(peers.floor_document(bench, "127.0.0.1:9"))
    seconds = time.perf_counter() - began
    await bench.engine.remove(reference)
    return seconds


async def _cold_rie(bench: Bench) -> float:
    """`docker run`, the plain command, to the first answer."""
    variables = [part for name, value in peers.variables("").items() for part in ("--env", f"{name}={value}")]
    mounts = [
        "--volume",
        f"{bench.place / 'task'}:/var/task:ro",
        "--volume",
        f"{bench.place / 'rie'}:/aws-lambda-rie:ro",
    ]
    label = f"{peers.LABEL}={bench.run_id}"
    began = time.perf_counter()
    out = await peers.run(
        "docker", "run", "--detach", "--network", bench.network, "--label", label,
        *variables, *mounts, bench.image, *peers.RIE_COMMAND,
    )  # fmt: skip
    reference = out.strip()
    try:
        target = Target(await peers.address_of(bench, reference), 8080)
        request = target.request()
        await peers.connectable(target)
        await peers.answered(target, request)
        return time.perf_counter() - began
    finally:
        await bench.engine.remove(reference)


async def _timed(work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return time.perf_counter() - began
