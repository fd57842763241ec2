"""The environment variables of a runtime, as recorded on AWS."""

from typing import Any

import pytest

from rapid.extension_variables import extension_variables
from runtime.model import LATEST, Code, FunctionConfig, FunctionVersion, LoggingConfig, Scope
from runtime.spawners.base import Layout
from runtime.variables import Credentials, log_fd, log_group, runtime_variables

LAYOUT = Layout()


def function(*, version: str = LATEST, **config: Any) -> FunctionVersion:
    return FunctionVersion(
        scope=Scope("123456789012", "eu-central-1"),
        name="f",
        version=version,
        config=FunctionConfig(**{"role": "r", "runtime": "python3.11", "handler": "app.handler"} | config),
        code=Code("0" * 64, 1, 1),
        revision_id="r",
        last_modified="",
    )


def variables(version: FunctionVersion, layout: Layout = LAYOUT, **options: Any) -> dict[str, str]:
    return runtime_variables(
        version,
        **options,
        layout=layout,
        runtime_api="169.254.100.1:9001",
        log_stream="2026/01/01/[$LATEST]0",
        credentials=Credentials("ASIA0", "secret", "token"),
    )


def test_all() -> None:
    """Everything that a plain Python function sees, and nothing else."""
    assert variables(function()) == {
        "_AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1",
        "_AWS_XRAY_DAEMON_PORT": "2000",
        "_HANDLER": "app.handler",
        "_LAMBDA_TELEMETRY_LOG_FD": "62",
        "AWS_ACCESS_KEY_ID": "ASIA0",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.11",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f",
        "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0",
        "AWS_LAMBDA_RUNTIME_API": "169.254.100.1:9001",
        "AWS_REGION": "eu-central-1",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_SESSION_TOKEN": "token",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.100.1:2000",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "LAMBDA_TASK_ROOT": "/var/task",
        "LANG": "en_US.UTF-8",
        "LC_CTYPE": "C.UTF-8",
        "LD_LIBRARY_PATH": (
            "/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/runtime/lib:/var/task:/var/task/lib:/opt/lib"
        ),
        "PATH": "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin",
        "PWD": "/var/task",
        "PYTHONPATH": "/var/runtime",
        "TZ": ":UTC",
    }


@pytest.mark.parametrize(
    "name",
    [
        "TZ",
        "LANG",
        "PATH",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "AWS_XRAY_CONTEXT_MISSING",
        "AWS_XRAY_DAEMON_ADDRESS",
        "MY",
    ],
)
def test_customers_win(name: str) -> None:
    """What the platform sets but does not reserve is the customer's to override."""
    assert variables(function(environment={name: "mine"}))[name] == "mine"


@pytest.mark.parametrize(
    "name", ["_HANDLER", "AWS_REGION", "AWS_LAMBDA_RUNTIME_API", "AWS_ACCESS_KEY_ID", "LAMBDA_TASK_ROOT"]
)
def test_reserved_ones_win(name: str) -> None:
    """What is reserved is the platform's, even if it got into the configuration somehow."""
    assert variables(function(environment={name: "mine"}))[name] != "mine"


def test_logging() -> None:
    """JSON logging tells the runtime's client to write JSON at the level wanted."""
    logging = LoggingConfig(log_format="JSON", application_log_level="DEBUG", log_group="/shared")
    seen = variables(function(logging=logging))
    assert (seen["AWS_LAMBDA_LOG_FORMAT"], seen["AWS_LAMBDA_LOG_LEVEL"]) == ("JSON", "DEBUG")
    assert seen["AWS_LAMBDA_LOG_GROUP_NAME"] == "/shared" == log_group(function(logging=logging))
    assert "AWS_LAMBDA_LOG_FORMAT" not in variables(function(logging=LoggingConfig(log_group="/shared")))


def test_executed_version() -> None:
    """The version is the number that runs."""
    assert variables(function(version="7"))["AWS_LAMBDA_FUNCTION_VERSION"] == "7"


@pytest.mark.parametrize("runtime", ["nodejs18.x", "nodejs22.x"])
def test_a_node_function(runtime: str) -> None:
    """Layers come before what the runtime brings, those for this version first; nothing is for Python."""
    seen = variables(function(runtime=runtime))
    major = runtime.removeprefix("nodejs").removesuffix(".x")
    assert seen["NODE_PATH"] == (
        f"/opt/nodejs/node{major}/node_modules:/opt/nodejs/node_modules:"
        "/var/runtime/node_modules:/var/runtime:/var/task"
    )
    assert seen["AWS_EXECUTION_ENV"] == f"AWS_Lambda_{runtime}"
    assert not {"PYTHONPATH", "LC_CTYPE"} & seen.keys()
    assert variables(function(runtime=runtime, environment={"NODE_PATH": "/mine"}))["NODE_PATH"] == "/mine"


@pytest.mark.parametrize("runtime", ["provided", "provided.al2023"])
def test_no_execution_env(runtime: str) -> None:
    """Functions that bring their own runtime see no name of one."""
    seen = variables(function(runtime=runtime))
    assert "AWS_EXECUTION_ENV" not in seen
    assert not {"LC_CTYPE", "PYTHONPATH", "NODE_PATH"} & seen.keys()
    assert "_LAMBDA_TELEMETRY_LOG_FD" not in seen
    assert seen["_HANDLER"] == "app.handler"


def of_image(image: dict[str, str], **config: Any) -> dict[str, str]:
    """What a function sees that is an image which sets these variables."""
    return variables(function(runtime=None, handler=None, package_type="Image", **config), image=image)


def test_an_image_keeps_its_variables() -> None:
    """An image's variables are there, before those that the platform merely suggests."""
    seen = of_image({"PATH": "/app/bin", "TZ": "Europe/Berlin", "GREETING": "hello"})
    assert (seen["PATH"], seen["TZ"], seen["GREETING"]) == ("/app/bin", "Europe/Berlin", "hello")
    assert seen["AWS_XRAY_CONTEXT_MISSING"] == "LOG_ERROR"


def test_an_image_gets_no_places_of_runtimes() -> None:
    """The platform has nothing of its own inside an image: no search paths, no locale, no handler, no runtime's name."""
    seen = of_image({})
    assert seen["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    absent = {
        "LD_LIBRARY_PATH",
        "PYTHONPATH",
        "NODE_PATH",
        "LANG",
        "LC_CTYPE",
        "_HANDLER",
        "AWS_EXECUTION_ENV",
    }
    assert not absent & seen.keys()


def test_what_an_image_cannot_change() -> None:
    """The customer's variables win over the image's, and Lambda's reserved names over both."""
    image = {
        "GREETING": "image",
        "AWS_LAMBDA_RUNTIME_API": "mine:1",
        "AWS_ACCESS_KEY_ID": "mine",
        "AWS_REGION": "mine",
    }
    seen = of_image(image, environment={"GREETING": "customer"})
    assert seen["GREETING"] == "customer"
    assert seen["AWS_LAMBDA_RUNTIME_API"] == "169.254.100.1:9001"
    assert seen["AWS_ACCESS_KEY_ID"] == "ASIA0"
    assert seen["AWS_REGION"] == "eu-central-1"


@pytest.mark.parametrize(
    ("runtime", "number"),
    [("python3.11", 62), ("nodejs20.x", 62), ("java21", None), ("provided.al2023", None), (None, 62)],
)
def test_log_descriptor(runtime: str | None, number: int | None) -> None:
    """Runtimes whose clients frame log events, as images' may, have a descriptor for it; extensions never hear of it."""
    version = function(runtime=runtime)
    assert log_fd(version) == number
    assert variables(version).get("_LAMBDA_TELEMETRY_LOG_FD") == (str(number) if number else None)
    assert "_LAMBDA_TELEMETRY_LOG_FD" not in extension_variables(variables(version))


def test_layout() -> None:
    """Where things are elsewhere, the paths say so."""
    seen = variables(function(), Layout(task_root="/s/task", opt="/s/opt", runtime_dir="/s/runtime"))
    assert (seen["LAMBDA_TASK_ROOT"], seen["LAMBDA_RUNTIME_DIR"], seen["PWD"]) == (
        "/s/task",
        "/s/runtime",
        "/s/task",
    )
    assert seen["PATH"].endswith(":/s/opt/bin")
    assert "/var/task" not in " ".join(seen.values())


def test_endpoints_are_the_customers_to_change() -> None:
    """What says where services are is there for runtime and extensions, unless the customer says otherwise."""
    endpoints = {"AWS_ENDPOINT_URL_S3": "http://ours", "AWS_ENDPOINT_URL_LAMBDA": "http://berth"}
    found = variables(function(environment={"AWS_ENDPOINT_URL_S3": "http://theirs"}), endpoints=endpoints)
    assert found["AWS_ENDPOINT_URL_S3"] == "http://theirs"
    assert found["AWS_ENDPOINT_URL_LAMBDA"] == "http://berth"
    assert extension_variables(found)["AWS_ENDPOINT_URL_LAMBDA"] == "http://berth"
