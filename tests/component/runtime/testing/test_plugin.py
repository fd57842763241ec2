"""The pytest plugin as a project uses it: real runs of pytest against a real Berth, on the process spawner."""

import fcntl
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime import instance
from runtime.settings import ROWS
from runtime.testing.namespace import Namespace
from runtime.testing.server import Server, serving

pytest_plugins = ["pytester"]

ARGUMENTS = ["--spawner", "process", "--no-warm-ahead"]
DEPLOY = '''
import io, json, zipfile
import pytest

CODE = """
def handler(event, context):
    print("asked for", event)
    return event["n"] + 1
"""

def deploy(client, name, code=CODE):
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        info = zipfile.ZipInfo("app.py")
        info.external_attr = 0o644 << 16
        archive.writestr(info, code)
    client.create_function(
        FunctionName=name, Runtime="python3.11", Role="arn:aws:iam::123456789012:role/any",
        Handler="app.handler", Code={"ZipFile": package.getvalue()}, Timeout=20,
    )
    client.get_waiter("function_active_v2").wait(FunctionName=name, WaiterConfig={"Delay": 0.05})

def ask(client, name, n):
    return json.loads(client.invoke(FunctionName=name, Payload=json.dumps({"n": n}))["Payload"].read())
'''
"""What the projects' tests begin with."""


@pytest.fixture(autouse=True)
def _nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs see none of the caller's variables."""
    others = {name for row in ROWS for name in row.others}
    for name in [name for name in os.environ if name.startswith(("BERTH_", "AWS_")) or name in others]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Berth that runs already."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("BERTH_ENDPOINT", raising=False)
        with serving(tmp_path_factory.mktemp("running") / "berth", ARGUMENTS) as server:
            yield server


@pytest.fixture
def project(pytester: pytest.Pytester, running: Server, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project whose tests use the Berth that runs already."""
    monkeypatch.setenv("BERTH_ENDPOINT", running.url)
    return pytester


@pytest.fixture
def starting(pytester: pytest.Pytester) -> pytest.Pytester:
    """A project whose tests start a Berth of their own."""
    pytester.makeini(f"[pytest]\nberth_up = {' '.join(ARGUMENTS)}\n")
    return pytester


def accounts(server: Server) -> set[str]:
    with urllib.request.urlopen(f"{server.url}/_berth/ps") as answer:  # noqa: S310  our own
        return {each["account"] for each in json.load(answer)["functions"]}


def until_ended(data_dir: Path) -> None:
    """Wait until the Berth of a data directory has let go of it."""
    if data_dir.exists():
        with (data_dir / instance.LOCK_NAME).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)


def test_an_installed_berth_costs_other_runs_nothing(pytester: pytest.Pytester) -> None:
    """A run that asks for no fixture of it has imported the plugin's module, and nothing that does anything."""
    pytester.makepyfile(
        """
        import sys

        def test_modules(request):
            mine = {name for name in sys.modules if name.split(".")[0] in ("runtime", "rapid", "botocore", "aiohttp")}
            assert mine == {"runtime", "runtime.testing", "runtime.testing.plugin"}
            plugin = request.config.pluginmanager.get_plugin("berth")
            assert [name for name in vars(plugin) if name.startswith("pytest_")] == ["pytest_addoption"]
        """
    )
    pytester.runpytest_subprocess().assert_outcomes(passed=1)


def test_each_test_has_an_account(project: pytest.Pytester, running: Server) -> None:
    """
    1. Two tests deploy a function of the same name and a layer; one of them in a second region too.
    Result: each has its own alone, and afterwards nothing is left of either.
    """
    project.makepyfile(
        DEPLOY
        + """
@pytest.mark.parametrize("n", [1, 2])
def test_adds(berth, berth_client, n):
    assert berth_client.list_functions()["Functions"] == []
    assert berth_client.list_layers()["Layers"] == []
    deploy(berth_client, "add")
    assert ask(berth_client, "add", n) == n + 1
    assert any(f"asked for {{'n': {n}}}" in line for line in berth.logs("add"))
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("python/more.py", "")
    berth_client.publish_layer_version(LayerName="more", Content={"ZipFile": package.getvalue()})
    berth_client.create_code_signing_config(AllowedPublishers={"SigningProfileVersionArns": [
        "arn:aws:signer:us-east-1:123456789012:/signing-profiles/p/abcdefghij"]})
    print("account", berth.account)
"""
    )
    result = project.runpytest_subprocess("-rA")
    result.assert_outcomes(passed=2)
    told = {line.split()[1] for line in result.outlines if line.startswith("account ")}
    assert len(told) == 2
    assert not told & accounts(running)
    for account in told:
        client = Namespace(running.url, account, running.region).client
        assert client.list_layers()["Layers"] == []
        assert client.list_code_signing_configs()["CodeSigningConfigs"] == []


def test_a_failing_test_shows_what_its_functions_wrote(project: pytest.Pytester) -> None:
    """The report of a test that fails has the logs of its functions, one that it has deleted included; no other's has."""
    project.makepyfile(
        DEPLOY
        + """
def test_fails(berth_client):
    deploy(berth_client, "kept")
    deploy(berth_client, "gone")
    ask(berth_client, "kept", 41)
    ask(berth_client, "gone", 43)
    berth_client.delete_function(FunctionName="gone")
    assert False

def test_passes(berth_client):
    deploy(berth_client, "quiet")
    assert ask(berth_client, "quiet", 47)

@pytest.fixture
def broken(berth_client):
    deploy(berth_client, "early")
    yield ask(berth_client, "early", 53)
    raise RuntimeError("at the end")

def test_fails_at_the_end(broken):
    pass
"""
    )
    result = project.runpytest_subprocess()
    result.assert_outcomes(failed=1, passed=2, errors=1)
    text = result.stdout.str()
    for name, n in (("kept", 41), ("gone", 43), ("early", 53)):
        assert text.count(f"Berth log of {name} (") == 1
        assert text.count(f"asked for {{'n': {n}}}") == 1
    assert text.count("REPORT RequestId") == 3
    assert "quiet" not in text.partition("FAILURES")[2].replace('"quiet"', "")


def test_other_programs_find_the_account(project: pytest.Pytester) -> None:
    """The AWS CLI and code with clients of its own are led there by variables, for as long as the test runs."""
    project.makepyfile(
        DEPLOY
        + """
import os, subprocess, sys

def test_variables(berth_environ, berth_client, berth):
    deploy(berth_client, "seen")
    command = ["-m", "awscli", "lambda", "list-functions", "--query", "Functions[].FunctionName", "--output", "text"]
    assert subprocess.check_output([sys.executable, *command], text=True).strip() == "seen"
    told = subprocess.check_output([sys.executable, "-m", "runtime.cli", "invoke", "seen", "--payload", '{"n": 1}'])
    assert told.strip() == b"2"

def test_afterwards():
    assert "AWS_ENDPOINT_URL" not in os.environ
"""
    )
    project.runpytest_subprocess().assert_outcomes(passed=2)


def test_a_run_starts_and_ends_a_berth(starting: pytest.Pytester) -> None:
    """Without a running one, the first test that asks starts it; the end of the run ends it, and its data go."""
    starting.makepyfile(
        DEPLOY
        + """
def test_adds(berth_client):
    deploy(berth_client, "add")
    assert ask(berth_client, "add", 1) == 2
"""
    )
    starting.runpytest_subprocess("--basetemp=base").assert_outcomes(passed=1)
    assert not (starting.path / "base/berth/data").exists()
    assert (starting.path / "base/berth/berth.log").stat().st_size


def test_workers_share_one(starting: pytest.Pytester) -> None:
    """Under pytest-xdist all workers use one Berth, each test still in an account of its own; the last one ends it."""
    pytest.importorskip("xdist")
    starting.makepyfile(
        DEPLOY
        + """
@pytest.mark.parametrize("n", range(4))
def test_adds(berth_server, berth_client, n, testrun_uid, worker_id, tmp_path_factory):
    deploy(berth_client, "add")
    assert len(berth_client.list_functions()["Functions"]) == 1
    assert ask(berth_client, "add", n) == n + 1
    seen = tmp_path_factory.getbasetemp().parent / "seen"
    with seen.open("a") as file:
        print(berth_server.url, worker_id, file=file)
"""
    )
    starting.runpytest_subprocess("-n2", "--basetemp=base").assert_outcomes(passed=4)
    seen = [line.split() for line in (starting.path / "base/seen").read_text().splitlines()]
    assert len({url for url, _ in seen}) == 1
    assert not (starting.path / "base/berth/data").exists()


def test_a_killed_run_leaves_no_berth(starting: pytest.Pytester) -> None:
    """Where the run cannot end it, it ends by itself."""
    starting.makepyfile(
        """
        import signal

        def test_waits(berth_server):
            with open("started", "w") as fifo:
                fifo.write(berth_server.url)
            signal.pause()
        """
    )
    os.mkfifo(starting.path / "started")
    command = [sys.executable, "-m", "pytest", "--basetemp=base", "-q"]
    with subprocess.Popen(command, cwd=starting.path, stdout=subprocess.DEVNULL) as process:
        assert (starting.path / "started").read_text().startswith("http://127.0.0.1:")
        assert instance.owner(starting.path / "base/berth/data")
        process.kill()
    until_ended(starting.path / "base/berth/data")


@pytest.mark.parametrize(
    ("ini", "endpoint", "says"),
    [
        pytest.param("", "http://127.0.0.1:9", "cannot reach Berth at http://127.0.0.1:9", id="nobody there"),
        pytest.param("", "elsewhere", "'elsewhere' is not an address of Berth", id="no address"),
        pytest.param(
            "berth_up = --spawner nothing",
            "",
            "'nothing' is not one of auto, docker, process",
            id="a wrong argument",
        ),
    ],
)
def test_no_berth_to_be_had(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ini: str, endpoint: str, says: str
) -> None:
    """A test that cannot have Berth fails with the reason."""
    monkeypatch.setenv("BERTH_ENDPOINT", endpoint)
    pytester.makeini(f"[pytest]\n{ini}\n")
    pytester.makepyfile("def test_it(berth): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    assert says in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
