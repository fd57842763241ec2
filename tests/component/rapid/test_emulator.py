"""The emulator with real processes: the runtime client that functions have, and functions of a few lines."""

import asyncio
import base64
import io
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from botocore.eventstream import EventStreamBuffer

ROOT = str(Path(__file__).parents[3])

HANDLER = """
import os, subprocess, sys, time

def handler(event, context):
    for name, value in event.items():
        result = globals()[name](value, context)
    return result if event else {}

def echo(value, context): return value
def fail(value, context): raise ValueError(value)
def leave(value, context): os._exit(value)
def wait(value, context): time.sleep(value)
def say(value, context): print(value); print("to stderr", file=sys.stderr)
def pid(value, context): return os.getpid()
def variables(value, context): return dict(os.environ)
def large(value, context): return "x" * value

def about(value, context):
    client = context.client_context
    return {
        "arn": context.invoked_function_arn, "name": context.function_name, "request": context.aws_request_id,
        "memory": context.memory_limit_in_mb, "client": client and client.custom, "left": context.get_remaining_time_in_millis(),
        "trace": os.environ["_X_AMZN_TRACE_ID"], "tenant": getattr(context, "tenant_id", None),
    }

def meet(value, context):
    # Ends when so many have come.
    place, count = value
    open(f"{place}/{context.aws_request_id}", "w").close()
    while len(os.listdir(place)) < count:
        time.sleep(0.001)
    return os.getpid()

def pieces(value, context):
    # Lines that are written in many pieces.
    letter, count = value
    for _ in range(count):
        for piece in (letter, letter * 3, "\\n"):
            os.write(1, piece.encode())

def end_runtime(value, context): os.kill(os.getppid(), 9)

def tell(value, context):
    with open(value, "w") as pipe:
        pipe.write("told")

def orphan(value, context):
    # A process in a session of its own that nobody waits for, and its number.
    code = "import os, sys, time; os.setsid(); print(os.getpid(), flush=True); os.close(1); time.sleep(600)"
    child = subprocess.run(["sh", "-c", f"{sys.executable} -c '{code}' &"], stdout=subprocess.PIPE, text=True)
    return int(child.stdout)
"""

STREAMING = """
import http.client, os
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
while True:
    api.request("GET", "/2018-06-01/runtime/invocation/next")
    answer = api.getresponse()
    answer.read()
    request = answer.headers["Lambda-Runtime-Aws-Request-Id"]
    headers = {"Lambda-Runtime-Function-Response-Mode": "streaming", "Transfer-Encoding": "chunked", "Content-Type": "text/plain"}
    api.request("POST", f"/2018-06-01/runtime/invocation/{request}/response", iter([b"one ", b"two"]), headers, encode_chunked=True)
    api.getresponse().read()
"""

EXTENSION = """#!{python}
import http.client, json, os, sys
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None, **headers):
    api.request(method, "/2020-01-01/extension" + path, body and json.dumps(body), headers)
    answer = api.getresponse()
    return answer.headers, json.loads(answer.read())
headers, _ = call("POST", "/register", {{"events": ["INVOKE", "SHUTDOWN"]}}, **{{"Lambda-Extension-Name": os.path.basename(sys.argv[0])}})
identifier = {{"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}}
seen = []
while True:
    _, event = call("GET", "/event/next", **identifier)
    seen.append(event["eventType"] + event.get("shutdownReason", ""))
    if event["eventType"] == "SHUTDOWN":
        open({seen!r}, "w").write(json.dumps(seen))
        sys.exit(0)
"""

LISTENER = """#!{python}
import http.client, http.server, json, os, sys, threading
told = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        told.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        open({seen!r}, "w").write(json.dumps(told))
        if any(event["type"] == "platform.report" for event in told):
            print("heard the report", flush=True)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *_): pass
server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
def call(method, path, body=None, **headers):
    api.request(method, path, body and json.dumps(body), headers)
    answer = api.getresponse()
    return answer.headers, json.loads(answer.read())
name = {{"Lambda-Extension-Name": os.path.basename(sys.argv[0])}}
headers, _ = call("POST", "/2020-01-01/extension/register", {{"events": ["SHUTDOWN"]}}, **name)
identifier = {{"Lambda-Extension-Identifier": headers["Lambda-Extension-Identifier"]}}
uri = f"http://sandbox.localdomain:{{server.server_port}}"
call("PUT", "/2022-07-01/telemetry", {{
    "schemaVersion": "2022-12-13", "types": ["platform", "function"], "destination": {{"protocol": "HTTP", "URI": uri}},
}}, **identifier)
call("GET", "/2020-01-01/extension/event/next", **identifier)
"""


@dataclass
class Answer:
    status: int
    headers: Any
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


RUNNER = "import sys; from rapid import __main__, emulator; emulator.OPT = sys.argv.pop(1); __main__.main()"
"""The emulator with another place for extensions."""


class Port:
    """A running emulator, and a client of it."""

    def __init__(self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.session = session
        self.said: list[str] = []
        #: On stderr.
        self.log: list[str] = []
        #: On stdout.
        self._news = asyncio.Event()
        self.has_started = asyncio.Event()
        self.number = 0
        self._readers = [asyncio.create_task(self._follow_log()), asyncio.create_task(self._listen())]

    async def _follow_log(self) -> None:
        assert self.process.stdout
        async for line in self.process.stdout:
            self.log.append(line.decode())
            self._news.set()

    async def logged(self, text: str) -> None:
        """Wait until it is on stdout."""
        async with asyncio.timeout(20):
            while text not in "".join(self.log):
                self._news.clear()
                await self._news.wait()

    async def _listen(self) -> None:
        assert self.process.stderr
        async for line in self.process.stderr:
            self.said.append(line.decode())
            if b"taking invocations at" in line:
                self.number = int(line.rpartition(b":")[2])
                self.has_started.set()
        self.has_started.set()

    async def post(
        self,
        body: Any = None,
        path: str = "2015-03-31/functions/function/invocations",
        method: str = "POST",
        **headers: str,
    ) -> Answer:
        data = body if isinstance(body, bytes | str | None) else json.dumps(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        url = f"http://127.0.0.1:{self.number}/{path}"
        async with self.session.request(method, url, data=data, headers=named) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def end(self) -> int:
        """Have it end, and everything that it has said heard; its exit status."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*self._readers)
        return await asyncio.wait_for(self.process.wait(), 20)


Open = Callable[..., Any]


@pytest.fixture
async def open_port(tmp_path: Path) -> AsyncIterator[Open]:
    """Starts emulators of the function above, in its directory."""
    (tmp_path / "app.py").write_text(HANDLER)
    opened: list[Port] = []

    async def start(*arguments: str, program: str = "", opt: str = "/nowhere", **environ: str) -> Port:
        client = ["-m", "awslambdaric", "app.handler"]
        command = [sys.executable, *(["-c", program, "x"] if program else client)]
        addresses = [
            "--runtime-interface-emulator-address=127.0.0.1:0",
            "--runtime-api-address",
            "127.0.0.1:0",
        ]
        variables = {"PATH": os.environ["PATH"], "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512", **environ}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", RUNNER, opt, *addresses, "--log-level", "debug", *arguments, *command,
            cwd=tmp_path, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": ROOT, **variables},
        )  # fmt: skip
        opened.append(Port(process, aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30))))
        await opened[-1].has_started.wait()
        assert opened[-1].number, opened[-1].said
        return opened[-1]

    yield start
    for port in opened:
        await port.session.close()
        assert await port.end() == 0, port.said


@pytest.fixture
async def port(open_port: Open) -> Port:
    started: Port = await open_port()
    return started


KEPT = ("Content-Type", "X-Amz-Executed-Version", "X-Amz-Function-Error", "X-Amzn-ErrorType")


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


async def test_an_event_goes_in_and_the_result_comes_out(port: Port) -> None:
    """With Lambda's headers, and Lambda's lines in the log."""
    answer = await port.post({"echo": {"a": 1}})
    assert (answer.status, answer.value) == (200, {"a": 1})
    assert answer.headers["X-Amz-Executed-Version"] == "$LATEST"
    assert "X-Amz-Function-Error" not in answer.headers
    request = answer.headers["x-amzn-RequestId"]
    tail = await port.post({"say": "hello"}, X_Amz_Log_Type="Tail")
    shown = base64.b64decode(tail.headers["X-Amz-Log-Result"]).decode()
    assert shown.splitlines()[1:3] == ["hello", "to stderr"]
    await port.end()
    first = port.log[:3]
    assert first[:2] == [f"START RequestId: {request} Version: $LATEST\n", f"END RequestId: {request}\n"]
    assert f"REPORT RequestId: {request}\tDuration: " in first[2]
    assert "Memory Size: 512 MB\tMax Memory Used: " in first[2]
    assert "Init Duration" in first[2]


def has_server(port: Port) -> bool:
    return "_http_parser" in Path(f"/proc/{port.process.pid}/maps").read_text()


async def test_a_plain_invocation_needs_no_http_server(port: Port) -> None:
    """What `curl` sends is answered by a process that has not loaded one; with what else Lambda takes it is loaded."""
    assert (await port.post({"echo": 1})).value == 1
    assert (await port.post(method="GET", path="health")).body == b"ok\n"
    assert (await port.post(b"{")).status == 400
    assert not has_server(port)
    assert (await port.post({"echo": 2}, X_Amz_Log_Type="None")).value == 2
    assert has_server(port)


async def test_an_invocation_that_is_piped(port: Port) -> None:
    """As by `nc`: the client has no more to say, and reads."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port.number)
    event = b'{"echo": "piped"}'
    lines = b"POST /2015-03-31/functions/function/invocations HTTP/1.1", b"Host: x", b"Connection: close"
    writer.write(b"\r\n".join((*lines, b"Content-Length: %d" % len(event), b"", event)))
    writer.write_eof()
    assert (await reader.read()).endswith(b'\r\n\r\n"piped"')
    writer.close()


async def test_both_ways_say_the_same(port: Port) -> None:
    """Of results, errors and refusals, but for what is each request's own."""
    for event in ({"echo": {"a": 1}}, {"fail": "no"}, b"", b"{", {"large": 6_400_000}):
        plain, long = await port.post(event), await port.post(event, X_Amz_Log_Type="None")
        kept = [{n.lower(): v for n, v in each.headers.items() if n in KEPT} for each in (plain, long)]
        assert kept[0] == kept[1]
        documents = [
            each.body.replace(each.headers["x-amzn-RequestId"].encode(), b"") for each in (plain, long)
        ]
        assert (plain.status, documents[0]) == (long.status, documents[1])


async def test_the_function_learns_about_itself(port: Port) -> None:
    """By its context and its variables."""
    context = base64.b64encode(b'{"custom": {"a": "b"}}').decode()
    trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
    answer = await port.post(
        {"about": 0}, "2015-03-31/functions/any-name/invocations?Qualifier=live",
        X_Amz_Client_Context=context, X_Amzn_Trace_Id=trace, X_Amz_Tenant_Id="blue",
    )  # fmt: skip
    about = answer.value
    left = about.pop("left")
    assert about == {
        "arn": "arn:aws:lambda:us-east-1:012345678912:function:test_function:live",
        "name": "test_function", "request": answer.headers["x-amzn-RequestId"], "memory": "512",
        "client": {"a": "b"}, "trace": trace, "tenant": "blue",
    }  # fmt: skip
    assert 0 < left <= 300_000
    seen = (await port.post({"variables": 0})).value
    assert seen["_HANDLER"] == "app.handler"
    assert seen["AWS_LAMBDA_LOG_GROUP_NAME"] == "/aws/lambda/Functions"
    assert "AWS_ACCESS_KEY_ID" not in seen


async def test_a_body_is_an_event_whatever_its_content_type(port: Port) -> None:
    """`curl -d` sends forms. Without a body the event is empty."""
    form = await port.post('{"echo": 7}', Content_Type="application/x-www-form-urlencoded")
    assert form.value == 7
    assert (await port.post()).value == {}


async def test_requests_at_a_time_get_environments_of_their_own(port: Port, tmp_path: Path) -> None:
    """Three functions that wait for each other, under any name."""
    place = tmp_path / "meeting"
    place.mkdir()
    paths = (f"2015-03-31/functions/{name}/invocations" for name in ("function", "arn:aws:x", "b"))
    answers = await asyncio.gather(*(port.post({"meet": [str(place), 3]}, path) for path in paths))
    assert len({answer.value for answer in answers}) == 3


async def test_beyond_the_limit_requests_wait(open_port: Open) -> None:
    """In order, for the one environment; none is refused."""
    port = await open_port("--max-environments", "1")
    answers = await asyncio.gather(*(port.post({"pid": 0}) for _ in range(20)))
    assert {answer.status for answer in answers} == {200}
    assert len({answer.value for answer in answers}) == 1


async def test_many_invocations_at_once_in_one_environment(open_port: Open, tmp_path: Path) -> None:
    """
    1. Three at a time are asked for; six invocations wait for each other and then write lines in pieces.
    Result: two environments, three in each; no line is cut to pieces by another worker's.
    """
    place = tmp_path / "meeting"
    place.mkdir()
    port = await open_port("--max-environments", "2", AWS_LAMBDA_MAX_CONCURRENCY="3")
    events = [
        {"meet": [str(place), 6], "pieces": [letter, 200], "say": f"{letter} is done", "variables": 0}
        for letter in "abcdef"
    ]
    answers = await asyncio.gather(*(port.post(event) for event in events))
    apis = [answer.value["AWS_LAMBDA_RUNTIME_API"] for answer in answers]
    assert sorted(apis.count(api) for api in set(apis)) == [3, 3]
    assert {answer.value["AWS_LAMBDA_INITIALIZATION_TYPE"] for answer in answers} == {
        "lambda-managed-instances"
    }
    for letter in "abcdef":
        await port.logged(f"{letter} is done\n")
    await port.end()
    for letter in "abcdef":
        assert port.log.count(letter * 4 + "\n") == 200
    assert sum(line.startswith("REPORT ") for line in port.log) == 6


async def test_workers_serve_again_and_again(open_port: Open) -> None:
    """Beyond the environments that may be there requests wait, and all are answered."""
    port = await open_port("--max-environments", "1", AWS_LAMBDA_MAX_CONCURRENCY="2")
    answers = await asyncio.gather(*(port.post({"echo": number}) for number in range(40)))
    assert [answer.value for answer in answers] == list(range(40))


async def test_an_environment_of_many_that_ends(open_port: Open) -> None:
    """The next invocation has another one."""
    port = await open_port("--max-environments", "1", AWS_LAMBDA_MAX_CONCURRENCY="2")
    answer = await port.post({"end_runtime": 0, "wait": 60})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.value["errorType"] == "Runtime.ExitError"
    assert (await port.post({"echo": 1})).value == 1


async def test_an_environment_of_many_that_cannot_be_initialised(open_port: Open) -> None:
    """Whoever waits for it is told why, and each invocation tries anew."""
    port = await open_port(program="import sys; sys.exit(3)", AWS_LAMBDA_MAX_CONCURRENCY="2")
    for _ in range(2):
        answer = await port.post({}, X_Amz_Log_Type="Tail")
        request = answer.headers["x-amzn-RequestId"]
        assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
        text = f"RequestId: {request} Error: Runtime exited with error: exit status 3"
        assert answer.value == {"errorType": "Runtime.ExitError", "errorMessage": text}


async def test_a_function_that_fails(port: Port) -> None:
    """Its error is the answer, and marked as one."""
    answer = await port.post({"fail": "no"})
    assert (answer.status, answer.headers["X-Amz-Function-Error"]) == (200, "Unhandled")
    assert (answer.value["errorType"], answer.value["errorMessage"]) == ("ValueError", "no")


async def test_a_function_that_ends_its_process(port: Port) -> None:
    """The next invocation has a new one."""
    answer = await port.post({"leave": 3})
    text = f"RequestId: {answer.headers['x-amzn-RequestId']} Error: Runtime exited with error: exit status 3"
    assert answer.value == {"errorType": "Runtime.ExitError", "errorMessage": text}
    assert (await port.post({"echo": 1})).value == 1


async def test_a_function_that_takes_too_long(open_port: Open) -> None:
    """It is ended, and the next invocation is served."""
    port = await open_port(AWS_LAMBDA_FUNCTION_TIMEOUT="1")
    answer = await port.post({"wait": 60})
    assert answer.headers["X-Amz-Function-Error"] == "Unhandled"
    assert answer.value["errorType"] == "Sandbox.Timedout"
    assert answer.value["errorMessage"].endswith("Error: Task timed out after 1.00 seconds")
    assert (await port.post({"echo": 1})).value == 1


async def test_a_response_that_is_too_long(port: Port) -> None:
    """Six megabytes and a little is the most."""
    answer = await port.post({"large": 7 << 20})
    assert answer.value["errorType"] == "Function.ResponseSizeTooLarge"


async def test_nothing_survives_a_fault(port: Port) -> None:
    """Not even what has left its session and its parent; what belongs to another environment does."""
    pid = (await port.post({"orphan": 0})).value
    assert not is_gone(pid)
    await port.post({"leave": 1})
    await port.post({"echo": 1})
    assert is_gone(pid)


async def test_an_event_is_taken_and_runs_later(port: Port, tmp_path: Path) -> None:
    """202 at once, with no body."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    answer = await port.post({"tell": str(pipe)}, X_Amz_Invocation_Type="Event")
    assert (answer.status, answer.body) == (202, b"")
    assert await asyncio.to_thread(pipe.read_text) == "told"


async def test_a_dry_run_runs_nothing(port: Port) -> None:
    """The answer says that all is in order."""
    answer = await port.post({"say": 1}, X_Amz_Invocation_Type="DryRun")
    await port.end()
    assert (answer.status, port.log) == (204, [])


@pytest.mark.parametrize(
    ("body", "path", "headers", "refusal"),
    [
        ("no json", "invocations", {}, (400, "InvalidRequestContentException")),
        ('{"a": NaN}', "invocations", {}, (400, "InvalidRequestContentException")),
        ("[" * 100_000, "invocations", {}, (400, "InvalidRequestContentException")),
        ("{}", "invocations", {"X_Amz_Client_Context": "%"}, (400, "InvalidRequestContentException")),
        ("{}", "invocations", {"X_Amz_Client_Context": "W10="}, (400, "InvalidRequestContentException")),
        ("{}", "invocations", {"X_Amz_Invocation_Type": "Later"}, (400, "InvalidParameterValueException")),
        ("{}", "nothing", {}, (404, None)),
    ],
)
async def test_what_is_no_invocation_is_refused(
    port: Port, body: str, path: str, headers: dict[str, str], refusal: tuple[int, str | None]
) -> None:
    """As Lambda refuses it."""
    answer = await port.post(body, f"2015-03-31/functions/function/{path}", **headers)
    assert (answer.status, answer.headers.get("X-Amzn-ErrorType")) == refusal
    await port.end()
    assert port.log == []


async def test_an_event_that_is_too_long(port: Port) -> None:
    """It is refused before it is read to its end."""
    url = f"http://127.0.0.1:{port.number}/2015-03-31/functions/function/invocations"
    async with port.session.post(url, data=io.BytesIO(b" " * (7 << 20))) as answer:
        assert answer.status == 413


async def test_other_methods_and_the_health(port: Port) -> None:
    assert (await port.post(method="GET")).status == 405
    assert (await port.post(path="health", method="GET")).body == b"ok\n"
    assert (await port.post(path="2018-06-01/ping", method="GET")).body == b"pong"
    assert (await port.post(path="", method="GET")).body == b"404 page not found\n"


async def test_pages_may_invoke_where_they_are_let(open_port: Open) -> None:
    """Preflight and answer carry the origin."""
    port = await open_port("--cors", "https://page")
    asked = await port.post(method="OPTIONS", Origin="https://page")
    assert (asked.status, asked.headers["Access-Control-Allow-Origin"]) == (204, "https://page")
    assert (await port.post({"echo": 1})).headers["Access-Control-Allow-Origin"] == "https://page"


async def test_a_response_is_streamed(open_port: Open) -> None:
    """In messages, the last of which says how it ended; by the other door it comes as one body."""
    port = await open_port(program=STREAMING)
    answer = await port.post({}, "2021-11-15/functions/f/response-streaming-invocations")
    assert answer.headers["Content-Type"] == "text/plain"
    buffer = EventStreamBuffer()
    buffer.add_data(answer.body)
    messages = [(message.headers[":event-type"], message.payload) for message in buffer]
    assert messages[-1] == ("InvokeComplete", b"{}")
    assert b"".join(payload for kind, payload in messages if kind == "PayloadChunk") == b"one two"
    assert (await port.post({})).body == b"one two"


async def test_an_extension_hears_of_invocations_and_of_the_end(open_port: Open, tmp_path: Path) -> None:
    """1. It registers. 2. It hears of an invocation. 3. The emulator ends. Result: it could say goodbye."""
    seen = tmp_path / "seen"
    extension = tmp_path / "opt" / "extensions" / "mine"
    extension.parent.mkdir(parents=True)
    extension.write_text(EXTENSION.format(python=sys.executable, seen=str(seen)))
    extension.chmod(0o755)
    port = await open_port(opt=str(tmp_path / "opt"))
    assert (await port.post({"echo": 1})).value == 1
    await port.end()
    assert json.loads(seen.read_text()) == ["INVOKE", "SHUTDOWNspindown"]


async def test_an_extension_hears_telemetry(open_port: Open, tmp_path: Path) -> None:
    """What the platform and the function say. In its own time: a busy one might not hear the last of it at the end."""
    seen = tmp_path / "seen"
    extension = tmp_path / "opt" / "extensions" / "hears"
    extension.parent.mkdir(parents=True)
    extension.write_text(LISTENER.format(python=sys.executable, seen=str(seen)))
    extension.chmod(0o755)
    port = await open_port(opt=str(tmp_path / "opt"))
    await port.post({"say": "hello"})
    await port.logged("heard the report")
    await port.end()
    told = [(event["type"], event["record"]) for event in json.loads(seen.read_text())]
    assert ("function", "hello\n") in told
    assert {"platform.initStart", "platform.start", "platform.report"} <= {kind for kind, _ in told}


async def test_a_client_that_leaves_does_not_stop_the_function(port: Port, tmp_path: Path) -> None:
    """Nor does it take its environment along."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    leaving = asyncio.create_task(port.post({"say": 1, "tell": str(pipe)}))
    await port.logged("to stderr")
    leaving.cancel()
    assert await asyncio.to_thread(pipe.read_text) == "told"
    assert (await port.post({"echo": 1})).value == 1


async def test_the_program_ends_when_it_is_told_to(tmp_path: Path) -> None:
    """With status 0, whatever it had to do."""
    (tmp_path / "app.py").write_text(HANDLER)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rapid", "--runtime-interface-emulator-address", "127.0.0.1:0",
        "--runtime-api-address", "127.0.0.1:0", sys.executable, "-m", "awslambdaric", "app.handler",
        cwd=tmp_path, stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
    )  # fmt: skip
    assert process.stderr
    assert b"[INFO] (rapid) exec '" in await process.stderr.readline()
    process.send_signal(signal.SIGTERM)
    _, said = await process.communicate()
    assert b"Shutdown initiated" in said
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["/nowhere/bootstrap"], 127, b"/nowhere/bootstrap, is not there"),
        (["no-such-program"], 127, b"no-such-program, is not there in $PATH"),
        ([os.devnull], 126, b"/dev/null cannot be executed"),
        (["--log-level", "loud", "sh"], 2, b"the log level has to be one of trace, debug"),
        (["--runtime-api-address", "x", "sh"], 2, b"has to be HOST:PORT"),
        (["--runtime-api-address", "192.0.2.1:9001", "sh"], 1, b"cannot listen"),
        (["--help"], 0, b""),
    ],
)
async def test_the_program_says_why_it_cannot_start(arguments: list[str], status: int, said: bytes) -> None:
    """One text, and an exit status as a shell would give it."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rapid", *arguments,
        stderr=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": ROOT},
    )  # fmt: skip
    _, error = await process.communicate()
    assert (process.returncode, said in error) == (status, True), error
