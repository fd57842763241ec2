"""A function's tests: `berth_client` is a Lambda client in an account that is this test's alone."""

import io
import json
import zipfile
from pathlib import Path

import pytest

FUNCTION = Path(__file__).parent / "greeting"


def package(folder: Path) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        for file in folder.glob("*.py"):
            archive.write(file, file.name)
    return target.getvalue()


@pytest.fixture
def greeting(berth, berth_client):
    """The function's name, once it can be invoked."""
    berth_client.create_function(
        FunctionName="greeting",
        Runtime="python3.11",
        Role=berth.role,
        Handler="app.handler",
        Code={"ZipFile": package(FUNCTION)},
    )
    berth_client.get_waiter("function_active_v2").wait(FunctionName="greeting", WaiterConfig={"Delay": 0.1})
    return "greeting"


def test_it_greets(berth, berth_client, greeting):
    answer = berth_client.invoke(FunctionName=greeting, Payload=json.dumps({"name": "Berth"}))
    assert json.load(answer["Payload"]) == {"greeting": "Hello, Berth!"}
    assert any("greeting Berth" in line for line in berth.logs(greeting))


def test_it_needs_a_name(berth_client, greeting):
    answer = berth_client.invoke(FunctionName=greeting, Payload=b"{}")
    assert answer["FunctionError"] == "Unhandled"
    assert json.load(answer["Payload"])["errorType"] == "KeyError"
