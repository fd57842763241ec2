"""Layers, from the client's zip to the handler's import."""

from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

LOOK = """
import os, subprocess, sys

def handler(event, context):
    if "import" in event:
        module = __import__(event["import"])
        return [module.NAME, module.__file__]
    if "run" in event:
        return subprocess.run(event["run"], capture_output=True, text=True).stdout
    if "read" in event:
        return open(event["read"]).read()
    if "write" in event:
        try:
            open(event["write"], "w")
        except OSError as error:
            return type(error).__name__
    return dict(os.environ)
"""


@pytest.fixture
def publish(berth: Any, zip_of: Callable[..., bytes]) -> Callable[..., str]:
    def publish(layer: str, files: dict[str, str], modes: dict[str, int] | None = None) -> str:
        given = berth.client.publish_layer_version(LayerName=layer, Content={"ZipFile": zip_of(files, modes)})
        return str(given["LayerVersionArn"])

    return publish


@pytest.fixture
def opt(berth: Any) -> str:
    """Where functions see layers: without a mount namespace the process spawner has no `/opt` of its own."""
    return "/opt"


def test_later_layers_win(berth: Any, name: str, publish: Callable[..., str], opt: str) -> None:
    """Layers are merged in the order of the configuration."""
    first = publish(f"{name}-a", {"shared.txt": "first", "only-first.txt": "first"})
    second = publish(f"{name}-b", {"shared.txt": "second"})
    berth.deploy(name, LOOK, Layers=[first, second])
    assert berth.invoke(name, {"read": f"{opt}/shared.txt"}).payload == "second"
    assert berth.invoke(name, {"read": f"{opt}/only-first.txt"}).payload == "first"
    berth.client.update_function_configuration(FunctionName=name, Layers=[second, first])
    berth.client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert berth.invoke(name, {"read": f"{opt}/shared.txt"}).payload == "first"


@pytest.mark.parametrize("folder", ["python", "python/lib/python3.11/site-packages"])
def test_python_modules_are_importable(
    berth: Any, name: str, publish: Callable[..., str], folder: str, opt: str
) -> None:
    """Both folders that Lambda knows are on the path."""
    layer = publish(name, {f"{folder}/fromlayer.py": "NAME = 'layer'"})
    berth.deploy(name, LOOK, Layers=[layer])
    assert berth.invoke(name, {"import": "fromlayer"}).payload == ["layer", f"{opt}/{folder}/fromlayer.py"]


def test_the_function_wins_over_its_layers(
    berth: Any, name: str, publish: Callable[..., str], zip_of: Callable[..., bytes]
) -> None:
    """A module in the package hides one in a layer, and a layer hides what the runtime bundles."""
    layer = publish(name, {"python/twice.py": "NAME = 'layer'", "python/boto3.py": "NAME = 'layer'"})
    berth.deploy(name, zip_of({"app.py": LOOK, "twice.py": "NAME = 'function'"}), Layers=[layer])
    assert berth.invoke(name, {"import": "twice"}).payload[0] == "function"
    assert berth.invoke(name, {"import": "boto3"}).payload[0] == "layer"


def test_programs_and_libraries_of_a_layer(
    berth: Any, name: str, publish: Callable[..., str], opt: str
) -> None:
    """`bin` is on PATH and keeps its executable bit; `lib` is on LD_LIBRARY_PATH."""
    layer = publish(name, {"bin/greet": "#!/bin/sh\necho hello from a layer\n"}, {"bin/greet": 0o755})
    berth.deploy(name, LOOK, Layers=[layer])
    assert berth.invoke(name, {"run": ["greet"]}).payload == "hello from a layer\n"
    variables = berth.invoke(name).payload
    assert f"{opt}/lib" in variables["LD_LIBRARY_PATH"].split(":")


def test_an_exec_wrapper(berth: Any, name: str, publish: Callable[..., str], opt: str) -> None:
    """A program of a layer gets the runtime's command, and what it changes is seen by the function."""
    wrapper = '#!/bin/sh\nexport WRAPPED="$*"\nexec "$@"\n'
    layer = publish(name, {"wrapper": wrapper}, {"wrapper": 0o755})
    variables = {"AWS_LAMBDA_EXEC_WRAPPER": f"{opt}/wrapper"}
    berth.deploy(name, LOOK, Layers=[layer], Environment={"Variables": variables})
    program, script = berth.invoke(name).payload["WRAPPED"].split()
    assert "python" in program
    assert script.endswith("/bootstrap.py")


def test_layers_are_read_only(berth: Any, name: str, publish: Callable[..., str], opt: str) -> None:
    """A function cannot change what others see."""
    layer = publish(name, {"data.txt": "shared"})
    berth.deploy(name, LOOK, Layers=[layer])
    assert berth.invoke(name, {"write": f"{opt}/data.txt"}).payload in ("PermissionError", "OSError")
    assert berth.invoke(name, {"write": f"{opt}/new.txt"}).payload in ("PermissionError", "OSError")
    assert berth.invoke(name, {"read": f"{opt}/data.txt"}).payload == "shared"


def test_a_deleted_layer_version_stays_usable(
    berth: Any, name: str, publish: Callable[..., str], opt: str
) -> None:
    """Functions that have it keep it; new references fail."""
    layer = publish(name, {"data.txt": "still here"})
    berth.deploy(name, LOOK, Layers=[layer])
    berth.client.delete_layer_version(LayerName=name, VersionNumber=1)
    assert berth.invoke(name, {"read": f"{opt}/data.txt"}).payload == "still here"
    with pytest.raises(ClientError, match=r"Layer version .* does not exist"):
        berth.deploy(f"x{name}"[:60], LOOK, Layers=[layer])
