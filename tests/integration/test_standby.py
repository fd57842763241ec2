"""Sandboxes that stand by, and networks made ahead, for real: what a function sees of them is nothing."""

import json
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.conftest import make_zip

LOOK = """
import http.client, os, resource, socket

def reach(address):
    connection = http.client.HTTPConnection(address, timeout=3)
    try:
        connection.request("GET", "/2018-06-01/runtime/invocation/next")
        return connection.getresponse().status
    except ConnectionError:
        return "hung up"

def handler(event, context):
    status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines() if ":" in line)
    limits = [path for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
              if os.path.exists(path)]
    def files(place):
        return sorted([os.path.join(place, name), os.lstat(os.path.join(place, name)).st_mode,
                       int(os.lstat(os.path.join(place, name)).st_mtime)] for name in os.listdir(place))
    def attempt(do):
        try:
            return do() or "done"
        except OSError as error:
            return type(error).__name__
    return {
        "memory": open(limits[0]).read().strip(),
        "size": context.memory_limit_in_mb,
        "uid": os.getuid(), "groups": os.getgroups(), "cwd": os.getcwd(), "pid": os.getpid() > 1,
        "capabilities": status["CapEff"].strip(), "seccomp": status["Seccomp"].strip(),
        "no_new_privs": status["NoNewPrivs"].strip(),
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
        "names": sorted(set(os.environ) - {"AWS_LAMBDA_LOG_STREAM_NAME"}),
        "task": files("/var/task"), "opt": files("/opt"), "roots": [oct(os.stat(p).st_mode) for p in ("/var/task", "/opt")],
        "tmp": os.listdir("/tmp"),
        "written": [attempt(lambda: open(p, "a")) for p in ("/var/task/app.py", "/var/task/new", "/opt/new", "/new")],
        "mounts": sorted((line.split()[1], line.split()[3].split(",")[0]) for line in open("/proc/mounts")
                         if line.split()[1] in ("/", "/var/task", "/opt", "/tmp")),
        "localdomain": socket.gethostbyname("sandbox.localdomain"),
        "hostname": len(socket.gethostname()),
        "api": os.environ["AWS_LAMBDA_RUNTIME_API"],
        "reached": [reach(each) for each in event.get("others", ())],
        "address": socket.gethostbyname(socket.gethostname()),
        "listens": attempt(lambda: socket.create_server(("0.0.0.0", 8080)).close()),
    }
"""

HOG = """
def handler(event, context):
    return len(bytearray(event["mb"] << 20))
"""


def stand_by(berth: Any) -> list[dict[str, Any]]:
    shown = json.loads(berth.run("ps", "--json", "--data-dir", str(berth.data_dir)).stdout)
    return [each for each in shown["standbys"] if each["state"] == "standby"]


@pytest.fixture
def berth(new_berth: Callable[..., Any]) -> Any:
    berth = new_berth("docker")
    berth.start()
    return berth


@pytest.mark.docker
def test_a_function_cannot_tell(berth: Any, new_berth: Callable[..., Any], name: str) -> None:
    """Limits, files, rights, names and network are the same in a sandbox that stood by as in one that did not."""
    alone = new_berth("docker", "--no-standby", "--spare-networks", "0")
    alone.start()
    seen = []
    for place in (berth, alone):
        layer = place.client.publish_layer_version(
            LayerName="words", Content={"ZipFile": make_zip({"python/words.py": "WORD = 1"})}
        )
        place.deploy(name, LOOK, MemorySize=256, Layers=[layer["LayerVersionArn"]])
        if place is berth:
            place.until(lambda: stand_by(berth))
            [standing] = stand_by(berth)
        answer = place.invoke(name)
        assert answer.error is None, answer.payload
        seen.append(answer.payload)
    assert berth.environments(name)[0]["environment"] == standing["environment"]
    assert stand_by(alone) == []
    for each in seen:
        del each["api"], each["address"]
    assert seen[0] == seen[1]
    assert seen[0]["memory"] == str((256 + 16) << 20)
    assert "done" not in seen[0]["written"]
    assert [each[0] for each in seen[0]["opt"]] == ["/opt/python"]


@pytest.mark.docker
def test_its_memory_is_the_function_s(berth: Any, name: str) -> None:
    """What takes more is killed; what is reported as used is the function's; and the next one has its own limit."""
    berth.deploy(name, HOG, MemorySize=512)
    berth.until(lambda: stand_by(berth))
    answer = berth.invoke(name, {"mb": 300})
    assert answer.payload == 300 << 20
    used = int(answer.log.partition("Max Memory Used: ")[2].split()[0])
    assert 300 <= used < 400
    small = f"{name}-small"[-60:].strip("-")
    berth.deploy(small, HOG, MemorySize=128)
    berth.until(lambda: stand_by(berth))
    [standing] = stand_by(berth)
    answer = berth.invoke(small, {"mb": 300})
    assert berth.environments(small)[0]["environment"] == standing["environment"]
    assert answer.log.rstrip().endswith("Error Type: Runtime.OutOfMemory"), answer.log
    assert "Max Memory Used: 128 MB" in answer.log


@pytest.mark.docker
def test_many_sizes_at_a_time(berth: Any, name: str) -> None:
    """More launches than anything stands by for: each function has its own memory, however its sandbox came to be."""
    functions = {f"{name}-{mb}"[-60:].strip("-"): mb for mb in (128, 192, 256, 320)}
    for function, mb in functions.items():
        berth.deploy(function, LOOK, MemorySize=mb)
    berth.until(lambda: stand_by(berth))
    with ThreadPoolExecutor(len(functions)) as threads:
        answers = dict(zip(functions, threads.map(berth.invoke, functions), strict=True))
    for function, mb in functions.items():
        assert answers[function].payload["memory"] == str((mb + 16) << 20)


@pytest.mark.docker
def test_networks_made_ahead(new_berth: Callable[..., Any], name: str) -> None:
    """A sandbox that joins one cannot be told from others, reaches its own Runtime API alone, and shares with nobody."""
    berth = new_berth("docker", "--no-standby", "--spare-networks", "2")
    berth.start()
    seen: list[dict[str, Any]] = []
    for number in range(3):
        function = f"{name}-{number}"[-60:].strip("-")
        berth.deploy(function, LOOK)
        answer = berth.invoke(function, {"others": [each["api"] for each in seen]})
        assert answer.error is None, answer.payload
        seen.append(answer.payload)
        berth.until(lambda: pauses(berth) - joined(berth))
    assert len(joined(berth)) == 2, "the first has a network of its own, the others have not"
    assert seen[2]["reached"] == ["hung up", "hung up"]
    assert len({each["address"] for each in seen}) == 3
    for each in seen:
        for own in ("api", "address", "reached"):
            del each[own]
    assert seen[0] == seen[1] == seen[2]


@pytest.mark.docker
def test_nothing_of_a_killed_control_plane_stays(berth: Any, name: str) -> None:
    """
    1. Something stands by, and networks are made ahead; the control plane is killed.
    2. It starts again.
    Result: what the earlier one had made ahead is gone, and others stand by.
    """
    berth.deploy(name, LOOK)
    berth.until(lambda: stand_by(berth) and pauses(berth))
    before = containers(berth)
    assert {each["reference"] for each in stand_by(berth)} < before
    berth.kill()
    berth.start()
    berth.until(lambda: stand_by(berth))
    berth.until(lambda: not before & containers(berth))
    assert berth.invoke(name).error is None


def containers(berth: Any) -> set[str]:
    """All of its, in any state."""
    return set(
        docker("ps", "--all", "--quiet", "--no-trunc", "--filter", f"label=berth={berth.instance}").split()
    )


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, capture_output=True, text=True).stdout.strip()


def pauses(berth: Any) -> set[str]:
    """The containers that hold networks."""
    filters = ("--filter", f"label=berth={berth.instance}", "--filter", "label=berth.pause")
    return set(docker("ps", "--quiet", "--no-trunc", *filters).split())


def joined(berth: Any) -> set[str]:
    """Those that sandboxes have joined; none twice."""
    references = [each["reference"] for each in berth.environments()]
    modes = docker("inspect", "--format", "{{.HostConfig.NetworkMode}}", *references).split()
    found = [mode.partition(":")[2] for mode in modes if mode.startswith("container:")]
    assert len(found) == len(set(found))
    return set(found)
