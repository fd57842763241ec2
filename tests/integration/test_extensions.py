"""Extensions as real processes out of layers, and inside the runtime: what they see, and what becomes of a function
that has them.
"""

import json
import os
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from tests.helpers.desk import PARTY, PATIENCE, Desk

HANDLER = """
import os
from party import Desk, trap

trap()
desk = Desk("runtime")
desk.tell("loaded")
runs = 0

def handler(event, context):
    global runs
    runs += 1
    kept = os.path.exists("/tmp/kept")
    open("/tmp/kept", "w").close()
    desk.tell("handling")
    if event.get("do") == "exit":
        os._exit(1)
    if event.get("do") == "hang":
        desk.tell("hanging")
    return {"runs": runs, "kept": kept}
"""

START = """\
#!/var/lang/bin/python3
import os, sys, time
sys.path.insert(0, "/opt/python")
from party import Desk, Extension, first_time

extension = Extension(os.path.basename(sys.argv[0]))
desk = Desk(extension.name)
process = {"user": os.getuid(), "directory": os.getcwd(), "leads": os.getpgid(0) == os.getpid()}
desk.tell("launched", variables=dict(os.environ), **process)
"""
LOOP = """
desk.tell("registered", about=extension.register(*{events}))
print("at", extension.name, flush=True)
while True:
    event = extension.next()
    left = event["deadlineMs"] - time.time() * 1000
    desk.tell(event["eventType"], event=event, left=left)
    if event["eventType"] == "SHUTDOWN":
        sys.exit()
    {work}
"""
HIDDEN = {
    "AWS_EXECUTION_ENV",
    "AWS_LAMBDA_LOG_GROUP_NAME",
    "AWS_LAMBDA_LOG_STREAM_NAME",
    "AWS_XRAY_CONTEXT_MISSING",
    "AWS_XRAY_DAEMON_ADDRESS",
    "LAMBDA_RUNTIME_DIR",
    "LAMBDA_TASK_ROOT",
}


def looping(*events: str, work: str = "pass") -> str:
    """An extension that fetches events for as long as there are any, and works on each."""
    return START + LOOP.format(events=events, work=work)


AGENT = looping("INVOKE", "SHUTDOWN")


@pytest.fixture(scope="module")
def host(berth: Any) -> str:
    """This machine as functions see it; known once a function is active."""
    berth.deploy("any", "def handler(event, context): pass")
    return str(berth.function_host)


@pytest.fixture
def desk(host: str) -> Iterator[Desk]:
    with Desk(host) as opened:
        yield opened


class Function:
    """The function of one test, with what tests do with it."""

    def __init__(self, berth: Any, name: str, desk: Desk, zip_of: Callable[..., bytes]) -> None:
        self.berth = berth
        self.name = name
        self.desk = desk
        self._zip_of = zip_of

    def deploy(
        self, extensions: Mapping[str, str], handler: str = HANDLER, mode: int = 0o755, **options: Any
    ) -> None:
        """Create it with a layer of extensions, by name."""
        files = {f"extensions/{each}": text for each, text in extensions.items()}
        content = self._zip_of({**files, "python/party.py": PARTY}, dict.fromkeys(files, mode))
        layer = self.berth.client.publish_layer_version(LayerName=self.name, Content={"ZipFile": content})
        options["Environment"] = {"Variables": {"DESK": self.desk.address}}
        self.berth.deploy(self.name, handler, Layers=[layer["LayerVersionArn"]], **options)

    def delete(self) -> None:
        self.berth.client.delete_function(FunctionName=self.name)

    def invoke(self, event: Any = None) -> Any:
        """With the end of the log, so only until extensions are done too."""
        return self.berth.invoke(self.name, event)

    def invoke_briefly(self) -> Any:
        """The payload as soon as it is there."""
        return json.load(self.berth.client.invoke(FunctionName=self.name, Payload=b"{}")["Payload"])

    def environment(self, fact: str) -> str:
        """A fact about its only environment."""
        [only] = self.berth.environments(self.name)
        return str(only[fact])

    def log(self) -> list[str]:
        shown = self.berth.run("logs", self.name, "--json", "--data-dir", str(self.berth.data_dir)).stdout
        return [str(json.loads(line)["message"]).strip() for line in shown.splitlines()]

    def log_line(self, start: str) -> str:
        """Wait for a line of the log that begins so."""
        address = f"{self.berth.url}/_berth/logs?function={self.name}&limit=1000&follow=1"
        limit = time.monotonic() + PATIENCE
        with urllib.request.urlopen(address, timeout=PATIENCE) as lines:  # noqa: S310  our own
            for line in lines:  # an empty one now and then, so that this ends
                assert time.monotonic() < limit, f"no {start} in time"
                if line.strip() and (message := str(json.loads(line)["message"]).strip()).startswith(start):
                    return message
        raise AssertionError("the log has ended")


@pytest.fixture
def function(berth: Any, name: str, zip_of: Callable[..., bytes], desk: Desk) -> Iterator[Function]:
    given = Function(berth, name, desk, zip_of)
    yield given
    with suppress(berth.client.exceptions.ResourceNotFoundException):  # the test has deleted it
        given.delete()


@pytest.fixture
def background() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def test_a_life_with_an_extension(function: Function, desk: Desk) -> None:
    """It registers before the runtime starts, hears of every invocation, and its output is in the log."""
    function.deploy({"agent.py": AGENT})
    answer = function.invoke()
    assert answer.payload == {"runs": 1, "kept": False}
    _, about = desk.hear("agent.py", "registered")["about"]
    assert about == {
        "functionName": function.name,
        "functionVersion": "$LATEST",
        "handler": "app.handler",
        "accountId": "123456789012",
    }
    event = desk.hear("agent.py", "INVOKE")["event"]
    assert event.pop("tracing").keys() == {"type", "value"}
    assert event.pop("deadlineMs") > time.time() * 1000
    assert event == {
        "eventType": "INVOKE",
        "requestId": answer.request_id,
        "invokedFunctionArn": f"arn:aws:lambda:us-east-1:123456789012:function:{function.name}",
    }
    lines = function.log()
    ready = lines.index("EXTENSION\tName: agent.py\tState: Ready\tEvents: [INVOKE,SHUTDOWN]")
    assert lines[0].startswith("INIT_START")
    assert ready < lines.index(f"START RequestId: {answer.request_id} Version: $LATEST")
    assert "at agent.py" in lines


def test_everybody_is_waited_for(function: Function, desk: Desk, background: ThreadPoolExecutor) -> None:
    """The runtime starts after every extension has registered; the handler runs after every one is ready."""
    function.deploy({"agent": AGENT})
    desk.hold("launched", "registered")
    answer = background.submit(function.invoke)
    desk.hear("agent", "launched")
    assert function.environment("phase") == "init"
    assert desk.order == ["agent launched"]
    desk.release("launched")
    desk.hear("runtime", "loaded")
    assert function.environment("phase") == "init"
    assert "runtime handling" not in desk.order
    desk.release("registered")
    assert answer.result().error is None


def test_what_an_extension_is_given(function: Function, desk: Desk) -> None:
    """The function's user and variables but those for the runtime alone, the root as its directory, a process group."""
    function.deploy({"agent": AGENT})
    function.invoke()
    seen = dict(desk.hear("agent", "launched"))
    variables = seen.pop("variables")
    is_root = function.berth.spawner == "docker" or os.geteuid() == 0
    assert seen == {"user": 993 if is_root else os.geteuid(), "directory": "/", "leads": True}
    assert not HIDDEN & variables.keys()
    assert not [each for each in variables if each.startswith("_")]
    assert variables["DESK"] == desk.address
    assert variables["AWS_LAMBDA_FUNCTION_NAME"] == function.name
    assert variables["AWS_SESSION_TOKEN"]


def test_the_answer_does_not_wait(function: Function, desk: Desk) -> None:
    """The client has its answer while the extension works; until it is done the environment is busy, and is billed."""
    function.deploy({"agent": AGENT})
    desk.hold("INVOKE")
    payload = function.invoke_briefly()
    answered = time.monotonic()
    assert payload == {"runs": 1, "kept": False}
    desk.hear("agent", "INVOKE")
    assert function.environment("state") == "finishing"
    worked = time.monotonic() - answered
    desk.release("INVOKE")
    report = dict(part.split(": ") for part in function.log_line("REPORT").strip().split("\t"))
    assert float(report["Duration"].removesuffix(" ms")) >= worked * 1000


def test_those_that_do_not_listen_are_left_alone(function: Function, desk: Desk) -> None:
    """Who did not subscribe to invocations is neither woken for them nor waited for; nor at the end."""
    function.deploy({"deaf": looping(), "last": looping("SHUTDOWN")})
    assert [function.invoke().payload["runs"] for _ in range(2)] == [1, 2]
    function.delete()
    desk.hear("last", "SHUTDOWN")
    for who in ("deaf", "last", "runtime"):
        desk.hear(who, "gone")
    assert not {"deaf INVOKE", "deaf SHUTDOWN", "last INVOKE"} & set(desk.order)


def test_the_end_of_an_idle_environment(function: Function, desk: Desk) -> None:
    """The runtime is told by SIGTERM, then the extension by an event that leaves it two seconds at the most."""
    function.deploy({"agent": AGENT})
    function.invoke()
    function.delete()
    farewell = desk.hear("agent", "SHUTDOWN")
    assert farewell["event"].keys() == {"eventType", "shutdownReason", "deadlineMs"}
    assert farewell["event"]["shutdownReason"] == "spindown"
    assert 0 < farewell["left"] <= 2000
    assert desk.order.index("trap SIGTERM") < desk.order.index("agent SHUTDOWN")
    desk.hear("agent", "gone")
    desk.hear("runtime", "gone")


def test_no_sigterm_without_extensions(function: Function, desk: Desk) -> None:
    """A runtime alone is killed without a word."""
    function.deploy({})
    function.invoke()
    function.delete()
    desk.hear("runtime", "gone")
    assert desk.order == ["runtime loaded", "runtime handling", "runtime gone"]


def test_a_timeout(function: Function, desk: Desk) -> None:
    """Extensions hear why they end, and both sides begin anew inside the next invocation; `/tmp` is kept."""
    function.deploy({"agent": AGENT}, Timeout=3)
    desk.hold("hanging")
    answer = function.invoke({"do": "hang"})
    assert answer.payload["errorType"] == "Sandbox.Timedout"
    assert answer.log.rstrip().endswith("Status: timeout")
    farewell = desk.hear("agent", "SHUTDOWN")
    assert farewell["event"]["shutdownReason"] == "timeout"
    assert 0 < farewell["left"] <= 2000
    assert "trap SIGTERM" not in desk.order
    after = function.invoke()
    assert after.payload == {"runs": 1, "kept": True}
    assert "Init Duration" not in after.log
    for who, what in (("agent", "registered"), ("runtime", "loaded")):
        desk.hear(who, what, nth=2)


def test_a_crash_of_the_runtime(function: Function, desk: Desk) -> None:
    """The reason that extensions hear is a failure; the next invocation has both again."""
    function.deploy({"agent": AGENT})
    answer = function.invoke({"do": "exit"})
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert desk.hear("agent", "SHUTDOWN")["event"]["shutdownReason"] == "failure"
    assert function.invoke().payload == {"runs": 1, "kept": True}
    desk.hear("agent", "INVOKE", nth=2)


def test_an_extension_that_outlasts_the_timeout(function: Function, desk: Desk) -> None:
    """The client keeps the answer it has; the invocation counts as timed out."""
    function.deploy({"agent": AGENT}, Timeout=1)
    desk.hold("INVOKE")
    answer = function.invoke()
    assert answer.payload == {"runs": 1, "kept": False}
    assert answer.error is None
    assert answer.log.rstrip().endswith("Status: timeout")


@pytest.mark.parametrize(("status", "text"), [(0, "exit code 0"), (3, "exit status 3")])
def test_an_extension_that_exits(function: Function, desk: Desk, status: int, text: str) -> None:
    """Whatever its status, in an invocation that is a crash; the next one has a new extension."""
    function.deploy({"agent": looping("INVOKE", work=f"if first_time(): sys.exit({status})")})
    desk.hold("handling")
    answer = function.invoke()
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": "Extension.Crash",
        "errorMessage": f"RequestId: {answer.request_id} Error: {text}",
    }
    assert answer.log.rstrip().endswith("Status: error\tError Type: Extension.Crash")
    desk.release("handling")
    assert function.invoke().payload["runs"] == 1


def test_a_crash_after_the_answer(function: Function, desk: Desk) -> None:
    """The client keeps the answer; the log has the crash, and the next invocation a new extension."""
    function.deploy({"agent": looping("INVOKE", work="if first_time(): sys.exit(1)")})
    desk.hold("INVOKE")
    payload = function.invoke_briefly()
    assert payload == {"runs": 1, "kept": False}
    desk.release("INVOKE")
    assert function.log_line("REPORT").rstrip().endswith("Error Type: Extension.Crash")
    assert function.invoke().payload == {"runs": 1, "kept": True}


@pytest.mark.parametrize(
    ("path", "error_type"),
    [("/init/error", "Extension.InitError"), ("/exit/error", "Extension.ExitError")],
)
def test_an_extension_that_gives_up_at_once(
    function: Function, desk: Desk, path: str, error_type: str
) -> None:
    """Both initialisations fail, and the client reads the extension's reason; the function's code is never run."""
    function.deploy(
        {"agent": f"{START}\nextension.register()\nextension.give_up({path!r}, 'Extension.NoConfig')\n"}
    )
    answer = function.invoke()
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": error_type,
        "errorMessage": f"RequestId: {answer.request_id} Error: Extension.NoConfig",
    }
    log = "".join(function.log())
    assert f"Phase: init\tStatus: error\tError Type: {error_type}" in log
    assert f"Phase: invoke\tStatus: error\tError Type: {error_type}" in log
    assert "runtime handling" not in desk.order


def test_an_extension_that_gives_up_later(function: Function, desk: Desk) -> None:
    """In an invocation it fails the invocation, and the next one begins anew."""
    work = "if first_time(): extension.give_up('/exit/error', 'Extension.Tired')"
    function.deploy({"agent": looping("INVOKE", work=work)})
    desk.hold("handling")
    answer = function.invoke()
    assert answer.payload == {
        "errorType": "Extension.ExitError",
        "errorMessage": f"RequestId: {answer.request_id} Error: Extension.Tired",
    }
    desk.release("handling")
    assert function.invoke().payload["runs"] == 1


@pytest.mark.parametrize(
    ("mode", "text"), [(0o644, "permission denied"), (0o755, "exec format error")], ids=["mode", "format"]
)
def test_an_extension_that_cannot_be_run(function: Function, desk: Desk, mode: int, text: str) -> None:
    """A file that is not executable, or nothing that the kernel can execute, is named to the client."""
    function.deploy({"agent": "no program at all"}, mode=mode)
    answer = function.invoke()
    assert answer.error == "Unhandled"
    assert answer.payload == {
        "errorType": "Extension.LaunchError",
        "errorMessage": f"RequestId: {answer.request_id} Error: fork/exec /opt/extensions/agent: {text}",
    }
    assert desk.order == []


def test_an_extension_that_never_registers(function: Function, desk: Desk) -> None:
    """It is waited for in vain: for ten seconds ahead of the invocation, then for the function's timeout."""
    function.deploy({"agent": AGENT}, Timeout=1)
    desk.hold("launched")
    answer = function.invoke()
    assert answer.payload == {
        "errorType": "Sandbox.Timedout",
        "errorMessage": f"RequestId: {answer.request_id} Error: Task timed out after 1.00 seconds",
    }
    log = "".join(function.log())
    assert "Phase: init\tStatus: timeout" in log
    assert "Phase: invoke\tStatus: timeout" in log
    assert "runtime loaded" not in desk.order


def test_eleven_extensions(function: Function, desk: Desk) -> None:
    """One more than there may be: none is started."""
    function.deploy({f"agent{number}": AGENT for number in range(11)})
    answer = function.invoke()
    assert answer.error == "Unhandled"
    assert answer.payload["errorType"] == "Extension.TooManyExtensions"
    assert desk.order == []


INTERNAL = """
import threading
from party import Desk, Extension, trap

trap()
inside = Extension("inside")
answers = [Extension("greedy").register("SHUTDOWN"), inside.register("INVOKE"), Extension("inside").register()]

def work():
    desk = Desk("inside")
    while True:
        event = inside.next()
        desk.tell(event["eventType"], event=event)

threading.Thread(target=work, daemon=True).start()

def handler(event, context):
    answered = [*answers, Extension("late").register()]
    return [[status, document.get("errorType")] for status, document in answered]
"""


def test_internal_extensions(function: Function, desk: Desk) -> None:
    """Static code may register, but not for the end; after the runtime's first `next` it is too late."""
    function.deploy({}, INTERNAL)
    answer = function.invoke()
    assert answer.payload == [
        [403, "Extension.InvalidEventType"],
        [200, None],
        [403, "Extension.InvalidExtensionState"],
        [403, "Extension.RegistrationClosed"],
    ]
    assert desk.hear("inside", "INVOKE")["event"]["requestId"] == answer.request_id
    assert "EXTENSION\tName: inside\tState: Ready\tEvents: [INVOKE]" in function.log()
    function.delete()
    desk.hear("trap", "SIGTERM")
