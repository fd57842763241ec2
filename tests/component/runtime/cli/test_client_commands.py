"""`ps`, `invoke`, `logs`, `settings` and `doctor` against a server that answers what it was told to."""

import base64
import io
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runtime.diagnosis import Finding
from runtime.instance import acquire

INVOCATIONS = "/2015-03-31/functions/hello/invocations"


def environment(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "function": name,
        "version": "$LATEST",
        "account": "123456789012",
        "region": "us-east-1",
        "runtime": "python3.11",
        "state": "idle",
        "purpose": "invocation",
        "age": 75.0,
        "idle": 3.0,
        "invocations": 12,
        "memory_peak": 40 * 1024**2,
        "environment": f"3f9a-{name}",
        **facts,
    }


def function(name: str, environments: int = 0, **facts: Any) -> dict[str, Any]:
    place = {"account": "123456789012", "region": "us-east-1"}
    return {
        **place,
        "function": name,
        "runtime": "python3.11",
        "state": "Active",
        "environments": environments,
        **facts,
    }


# Finding Berth


def test_nothing_running_says_how_to_start(run: Any, home: Path) -> None:
    """Every client command says in one line that there is nothing to talk to, and what to do."""
    for command in (["ps"], ["invoke", "f"], ["logs", "f"]):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        assert err == f"berth: no Berth is running for {home}/.berth; start one with: berth up --detach\n"


def test_commands_to_copy_name_the_data_directory(run: Any, home: Path) -> None:
    """Where the data directory is another than the default, the advice works as it stands, spaces included."""
    err = run("ps", "--data-dir", f"{home}/my data")[2]
    assert err.endswith(f"start one with: berth up --detach --data-dir '{home}/my data'\n")


def test_starting_berth_is_told_apart(run: Any, home: Path) -> None:
    """A Berth that does not answer yet is not reported as missing."""
    with acquire(home / ".berth"):
        assert run("ps")[2] == f"berth: the Berth of {home}/.berth is still starting; try again in a moment\n"


def test_address_can_be_given(run: Any, server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """`--url` or BERTH_URL name a Berth that is not of this data directory."""
    server.answer("/_berth/ps", {"environments": [], "functions": []})
    assert run("ps", "--url", server.url + "/")[0] == 0
    monkeypatch.setenv("BERTH_URL", server.url)
    assert run("ps")[0] == 0


@pytest.mark.parametrize("url", ["ftp://x", "127.0.0.1:3001", "http://", "http://h:port"])
def test_senseless_address_is_refused(run: Any, url: str) -> None:
    """What is no address is said to be none."""
    code, _, err = run("ps", "--url", url)
    assert code == 2
    assert err == f"berth: {url!r} is not an address of Berth; one looks like http://127.0.0.1:3001\n"


def test_unreachable_address_is_one_line(run: Any) -> None:
    """A refused connection is explained without a traceback."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, _, err = run("ps", "--url", url)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"berth: cannot reach Berth at {url}: Connection refused")


def test_stranger_is_recognised(run: Any, server: Any) -> None:
    """Another program on that port is not taken for Berth."""
    server.answer("/_berth/ps", b"<html>")
    assert run("ps", "--url", server.url)[2] == f"berth: what answers at {server.url} is not Berth\n"


# ps


def test_ps_shows_environments_and_functions_without(run: Any, berth: Any) -> None:
    """One line for each environment, then one for each function that has none."""
    berth.answer(
        "/_berth/ps",
        {
            "environments": [
                environment("hello"),
                environment("busy", state="busy", idle=None, memory_peak=None),
            ],
            "functions": [
                function("busy", 1),
                function("cold"),
                function("hello", 1),
                function("new", state="Pending"),
            ],
        },
    )
    code, out, _ = run("ps")
    assert code == 0
    assert out.splitlines() == [
        "FUNCTION  VERSION  STATE    FOR         RUNTIME     AGE     IDLE  INVOCATIONS  MEMORY PEAK  ENVIRONMENT",
        "busy      $LATEST  busy     invocation  python3.11  1m 15s  -     12           -            3f9a-busy",
        "hello     $LATEST  idle     invocation  python3.11  1m 15s  3s    12           40 MB        3f9a-hello",
        "cold      -        -        -           python3.11  -       -     -            -            -",
        "new       -        Pending  -           python3.11  -       -     -            -            -",
    ]


def test_ps_names_tenants(run: Any, berth: Any) -> None:
    """Environments that serve one tenant only say whom."""
    environments = [environment("f"), environment("f", tenant="A b")]
    berth.answer("/_berth/ps", {"environments": environments, "functions": []})
    assert [line.partition("$")[0].strip() for line in run("ps")[1].splitlines()[1:]] == ["f", "f [A b]"]


def test_ps_names_regions_where_there_are_several(run: Any, berth: Any) -> None:
    """Functions of one name in two regions are told apart."""
    functions = [function("f"), function("f", region="eu-west-1")]
    berth.answer("/_berth/ps", {"environments": [], "functions": functions})
    assert "f (123456789012 eu-west-1)" in run("ps")[1]


def test_ps_counts_what_stands_by(run: Any, berth: Any) -> None:
    """One line for all of them, by runtime: they are alike."""
    standbys = [
        {"runtime": runtime, "state": "standby"} for runtime in ("python3.11", "nodejs22.x", "python3.11")
    ]
    berth.answer("/_berth/ps", {"environments": [], "functions": [function("f")], "standbys": standbys})
    assert run("ps")[1].splitlines()[-1] == "standby: 1 nodejs22.x, 2 python3.11"


def test_ps_without_functions_says_what_to_do(run: Any, berth: Any) -> None:
    """An empty Berth is not an empty table."""
    berth.answer("/_berth/ps", {"environments": [], "functions": []})
    assert run("ps") == (0, "no functions yet; create one with: aws lambda create-function\n", "")


def test_ps_as_json_is_the_servers_document(run: Any, berth: Any) -> None:
    """Machines get everything that is known."""
    document = {"environments": [environment("hello")], "functions": [function("hello", 1)]}
    berth.answer("/_berth/ps", document)
    assert json.loads(run("ps", "--json")[1]) == document


# invoke


def answered(berth: Any, payload: bytes, **headers: str) -> None:
    log = base64.b64encode(b"START\nhi\nEND\n").decode()
    berth.answer(INVOCATIONS, payload, X_Amz_Log_Result=log, X_Amz_Executed_Version="$LATEST", **headers)


def test_invoke_prints_payload_and_log_apart(run: Any, berth: Any) -> None:
    """The answer can be piped; the log is beside it."""
    answered(berth, b'{"ok": true}')
    assert run("invoke", "hello", "-p", '{"a": 1}', "-q", "live/1") == (
        0,
        '{"ok": true}\n',
        "START\nhi\nEND\n",
    )
    [asked] = berth.asked
    assert (asked.method, asked.path, asked.body) == (
        "POST",
        f"{INVOCATIONS}?Qualifier=live%2F1",
        b'{"a": 1}',
    )
    assert asked.headers["X-Amz-Log-Type"] == "Tail"
    assert "X-Amz-Tenant-Id" not in asked.headers
    assert run("invoke", "hello", "--no-tail") == (0, '{"ok": true}\n', "")
    assert berth.asked[1].body == b""
    run("invoke", "hello", "--tenant-id", "blue")
    assert berth.asked[2].headers["X-Amz-Tenant-Id"] == "blue"


def test_invoke_tells_that_the_function_failed(run: Any, berth: Any) -> None:
    """A function error is exit code 1, with the function's own error document on stdout."""
    answered(berth, b'{"errorType": "KeyError"}', X_Amz_Function_Error="Unhandled")
    code, out, _ = run("invoke", "hello")
    assert (code, out) == (1, '{"errorType": "KeyError"}\n')


def test_invoke_as_json_holds_everything(run: Any, berth: Any) -> None:
    """Machines get payload, error, version and log in one document, and stderr stays empty."""
    answered(berth, b"[1]", X_Amz_Function_Error="Unhandled", x_amzn_RequestId="id")
    code, out, err = run("invoke", "hello", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "function_error": "Unhandled",
        "executed_version": "$LATEST",
        "request_id": "id",
        "payload": [1],
        "log": "START\nhi\nEND\n",
    }
    answered(berth, b"no json")
    assert json.loads(run("invoke", "hello", "--json")[1])["payload"] == "no json"


def test_invoke_tells_a_refusal(run: Any, berth: Any) -> None:
    """What Lambda refuses is one line with its error code, exit code 2."""
    berth.answer(
        INVOCATIONS, {"Message": "Function not found: arn"}, 404, X_Amzn_ErrorType="ResourceNotFoundException"
    )
    assert run("invoke", "hello") == (2, "", "berth: ResourceNotFoundException: Function not found: arn\n")
    berth.answer(INVOCATIONS, b"oops", 500)
    assert run("invoke", "hello")[2] == "berth: Berth answered with status 500\n"


def test_payload_comes_from_a_file_or_stdin(
    run: Any, berth: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files and stdin are sent as they are, byte for byte."""
    answered(berth, b"1")
    (tmp_path / "event").write_bytes(b'"\xc3\xbc"\n')
    run("invoke", "hello", "--payload", f"@{tmp_path}/event")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"[2]")))
    run("invoke", "hello", "--payload", "-")
    assert [asked.body for asked in berth.asked] == [b'"\xc3\xbc"\n', b"[2]"]


@pytest.mark.parametrize(
    ("payload", "line"),
    [
        (
            "hello",
            "berth: --payload: 'hello' is not JSON (a text needs quotes of its own; a file is @FILE)\n",
        ),
        ("@/no/file", "berth: --payload: cannot read /no/file: No such file or directory\n"),
    ],
)
def test_unusable_payload_is_not_sent(run: Any, berth: Any, payload: str, line: str) -> None:
    """A slip in the payload is found before anything runs."""
    assert run("invoke", "hello", "-p", payload) == (2, "", line)
    assert berth.asked == []


def test_invoke_means_the_region_of_settings_or_arn(
    run: Any, berth: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Account and region travel as in a signed request: an ARN's own, else the settings'."""
    answered(berth, b"1")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    run("invoke", "hello", "--account-id", "000000000001")
    run("invoke", "arn:aws:lambda:ap-south-1:000000000002:function:hello")
    found = [asked.headers["Authorization"].split("Credential=")[1].split(",")[0] for asked in berth.asked]
    assert found == [
        "000000000001/20150331/eu-west-1/lambda/aws4_request",
        "000000000002/20150331/ap-south-1/lambda/aws4_request",
    ]


# logs


EVENTS = b"""
{"timestamp": 1706702400123, "stream": "s", "message": "[ERROR] KeyError\\rTraceback"}

{"timestamp": 1706702400124, "stream": "s", "message": "END"}
"""


def test_logs_are_lines_with_their_time(run: Any, berth: Any) -> None:
    """Events are shown with time; a carriage return in an event starts a new line, as runtimes mean it."""
    berth.answer("/_berth/logs", EVENTS)
    code, out, _ = run("logs", "hello", "-n", "5", "--region", "eu-west-1")
    assert code == 0
    assert out == "2024-01-31T12:00:00.123Z [ERROR] KeyError\nTraceback\n2024-01-31T12:00:00.124Z END\n"
    assert berth.asked[0].path == "/_berth/logs?function=hello&account=123456789012&region=eu-west-1&limit=5"


def test_logs_as_json_are_the_servers_lines(run: Any, berth: Any) -> None:
    """Machines get one object a line, without heartbeats; following asks the server to go on."""
    berth.answer("/_berth/logs", EVENTS)
    _, out, _ = run("logs", "hello", "--json", "--follow")
    assert [json.loads(line)["message"] for line in out.splitlines()] == [
        "[ERROR] KeyError\rTraceback",
        "END",
    ]
    assert berth.asked[0].path.endswith("&follow=1")


def test_logs_of_an_unknown_function_are_refused(run: Any, berth: Any) -> None:
    """The server's reason is shown."""
    berth.answer("/_berth/logs", {"Message": "There is no function x"}, 404)
    assert run("logs", "x") == (2, "", "berth: There is no function x\n")


# story

STORY = {
    "environment": "3f9a",
    "function": "f",
    "version": "1",
    "ended": None,
    "lines": ["one \x1b[2J", "two"],
}


def test_a_story_is_its_lines(run: Any, berth: Any) -> None:
    """Line by line, and nothing in them is obeyed by the terminal."""
    berth.answer("/_berth/story", STORY)
    assert run("story", "3f") == (0, "one ^[[2J\ntwo\n", "")
    assert berth.asked[0].path == "/_berth/story?environment=3f"


def test_a_story_as_json_is_the_servers_document(run: Any, berth: Any) -> None:
    """Machines get everything that is known."""
    berth.answer("/_berth/story", STORY)
    assert json.loads(run("story", "3f", "--json")[1]) == STORY


def test_an_unknown_story_is_refused(run: Any, berth: Any) -> None:
    """The server's reason is shown; an odd name is asked for as it is."""
    berth.answer("/_berth/story", {"Message": "There is no environment x"}, 404)
    assert run("story", "a&b=c") == (2, "", "berth: There is no environment x\n")
    assert berth.asked[0].path == "/_berth/story?environment=a%26b%3Dc"


# settings and doctor


def test_settings_show_value_and_origin(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line tells what is in force and who said so."""
    monkeypatch.setenv("BERTH_PORT", "4000")
    code, out, _ = run("settings", "--no-freeze")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert ["port", "4000", "BERTH_PORT"] in lines
    assert ["freeze", "false", "--freeze"] in lines
    assert ["docker_host", "-", "default"] in lines
    document = json.loads(run("settings", "--json")[1])
    assert document["port"] == {"value": "4000", "origin": "BERTH_PORT"}
    assert document["docker_host"] == {"value": None, "origin": "default"}


def test_settings_print_the_docs_table(run: Any) -> None:
    """The table in the documentation is made by the program."""
    assert run("settings", "--markdown")[1].startswith("| Flag | Variable |")


@pytest.mark.parametrize("essential", [True, False])
def test_doctor_fails_for_essentials_only(run: Any, monkeypatch: pytest.MonkeyPatch, essential: bool) -> None:
    """What is missing is marked and advised; only an essential one changes the exit code."""
    findings = [
        Finding(name="port", ok=True, essential=True, detail="free"),
        Finding(name="engine", ok=False, essential=essential, detail="none", advice="start Docker"),
    ]

    async def diagnose(_: Any) -> list[Finding]:
        return findings

    monkeypatch.setattr("runtime.cli.doctor.diagnose", diagnose)
    code, out, _ = run("doctor")
    assert code == int(essential)
    assert out.splitlines()[:3] == [
        "✔ port    free",
        f"{'✘' if essential else '!'} engine  none",
        "          → start Docker",
    ]
    assert json.loads(run("doctor", "--json")[1])[1]["advice"] == "start Docker"


@pytest.mark.parametrize(
    ("health", "code"),
    [
        ({"spawner": "Docker 20.10", "function_host": "172.18.0.1"}, 0),
        ({"spawner": "preparing"}, 1),
        ({"spawner": "unavailable"}, 1),
    ],
)
def test_doctor_asks_the_running_berth(
    run: Any, server: Any, monkeypatch: pytest.MonkeyPatch, health: Any, code: int
) -> None:
    """With --ready the exit code is for health checks: it counts whether functions can be run."""
    monkeypatch.setenv("BERTH_URL", server.url)
    server.answer("/health", {"status": "ok", **health})
    says = f"Berth at {server.url} is {'not ' if code else ''}ready: {health['spawner']}\n"
    assert run("doctor", "--ready")[:2] == (code, says)
    assert json.loads(run("doctor", "--ready", "--json")[1])["ready"] is (code == 0)


def test_doctor_asks_where_nothing_runs(run: Any) -> None:
    """A Berth that is not there is not ready."""
    code, out, err = run("doctor", "--ready")
    assert (code, out) == (2, "")
    assert "no Berth is running" in err


def test_doctor_waits_for_a_berth_that_is_starting(
    run: Any, server: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --wait it asks again until there is one, and that is ready; one that will never be is told at once."""
    server.answer("/health", {"spawner": "preparing"})
    with acquire(home / ".berth") as owned:

        def sleep(_: float) -> None:
            next(steps)()

        steps: Iterator[Callable[[], object]] = iter(
            [
                lambda: owned.write_state(server.url),
                lambda: server.answer("/health", {"function_host": "172.18.0.1"}),
            ]
        )
        pause = SimpleNamespace(monotonic=lambda: 0.0, sleep=sleep)
        monkeypatch.setattr("runtime.cli.doctor.time", pause)
        assert run("doctor", "--ready", "--wait", "60")[0] == 0
        server.answer("/health", {"spawner": "unavailable"})
        assert run("doctor", "--ready", "--wait", "60")[0] == 1
