"""`berth deploy`: what is wrong before anything is deployed. Deployments themselves are tested at the REST door."""

import json
import socket
from pathlib import Path
from typing import Any

import pytest

TEMPLATE = """
Parameters: {Size: {Type: Number}}
Resources:
  F:
    Type: AWS::Lambda::Function
    Properties: {Runtime: python3.11, Handler: a.b, Code: app.py, MemorySize: !Ref Size}
"""
MISSING = {"x_amzn_ErrorType": "ResourceNotFoundException", "x_amzn_RequestId": "1"}
LISTED = "/2015-03-31/functions"


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """In a folder whose name makes a stack's."""
    folder = tmp_path / "My_shop 2"
    folder.mkdir()
    (folder / "app.py").write_text("x = 1")
    path = folder / "t.yaml"
    path.write_text(TEMPLATE)
    return path


def test_the_stack_is_named_after_the_folder(run: Any, berth: Any, template: Path) -> None:
    """Unless `--stack` says otherwise; parameters may come many to a flag, and the last of a name counts."""
    berth.answer(LISTED, {"Functions": []}, x_amzn_RequestId="1")
    berth.answer("/2015-03-31/event-source-mappings", {"EventSourceMappings": []}, x_amzn_RequestId="1")
    parameters = ("--parameter", "Size=1", "Size=256", "--parameter", "Size=512")
    for arguments, name in (((), "My-shop-2"), (("--stack", "s"), "s")):
        berth.answer(f"{LISTED}/{name}-F", {}, 404, **MISSING)
        code, out, _ = run("deploy", "--json", "-n", "-t", str(template), *parameters, *arguments)
        document = json.loads(out)
        assert (code, document["stack"], document["dry_run"]) == (0, name, True)
        [resource] = document["resources"]
        assert (resource["name"], resource["action"]) == (f"{name}-F", "created")
    assert {asked.method for asked in berth.asked} == {"GET"}
    assert "Credential=123456789012/" in berth.asked[0].headers["Authorization"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--stack", "1x"), "'1x' is not the name of a stack: letters, digits and dashes; see --stack"),
        (("--parameter", "Size"), "--parameter: 'Size' is not NAME=VALUE"),
        (("--parameter", "=1"), "--parameter: '=1' is not NAME=VALUE"),
        ((), "{template}:2: Parameters.Size: has no default: give it with --parameter Size=VALUE"),
        (("--parameter", "Size=x"), "{template}:2: Parameters.Size: 'x' is not a number"),
        (("--parameter", "Size=1", "Sise=2"), "{template}: the template has no parameter Sise"),
        (
            ("--parameter", "Size=-5"),
            "{template}:6: Resources.F.Properties.MemorySize: '-5' is not a whole number",
        ),
    ],
)
def test_mistakes_are_one_line(
    run: Any, berth: Any, template: Path, arguments: tuple[str, ...], line: str
) -> None:
    """With exit code 2, and nothing is sent."""
    given = line.format(template=template)
    assert run("deploy", "-t", str(template), *arguments) == (2, "", f"berth: {given}\n")
    assert berth.asked == []


def test_templates_have_to_be_there(run: Any, berth: Any, tmp_path: Path) -> None:
    """A missing file, a folder, and what is no text."""
    missing, binary = tmp_path / "t.yaml", tmp_path / "b.yaml"
    binary.write_bytes(b"\xff\xfe")
    for path, why in ((missing, "No such file or directory"), (tmp_path, "Is a directory")):
        assert run("deploy", "-s", "s", "-t", str(path)) == (2, "", f"berth: cannot read {path}: {why}\n")
    assert run("deploy", "-s", "s", "-t", str(binary))[2] == f"berth: {binary} is not text in UTF-8\n"


def test_watch_and_dry_run_exclude_each_other(run: Any) -> None:
    """A watch that changes nothing would never end in anything."""
    code, _, err = run("deploy", "--watch", "--dry-run")
    assert (code, "not allowed with argument" in err) == (2, True)


def test_strangers_and_silence_are_told(run: Any, server: Any, template: Path) -> None:
    """No server, and one that is not Lambda."""
    arguments = ("deploy", "-t", str(template), "--parameter", "Size=128", "--url")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, out, err = run(*arguments, url)
    assert (code, out) == (2, "")
    assert err.startswith(f"berth: cannot reach Berth at {url}: ")
    for status in (200, 404, 500):
        server.answer(f"{LISTED}/My-shop-2-F", b"<html>", status)
        assert run(*arguments, server.url) == (
            2,
            "",
            f"berth: cannot reach Berth at {server.url}: what answers there is not Berth\n",
        )
