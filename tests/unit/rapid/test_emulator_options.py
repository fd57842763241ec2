from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from rapid import emulator_options
from rapid.emulator_options import Misused, Options, parse, variables
from rapid.records import MANAGED, ON_DEMAND


def options(*arguments: str, **environ: str) -> Options:
    return parse(arguments, environ, "/here", lambda name, path: f"{path}/{name}")


@pytest.mark.parametrize(
    ("command", "argv", "handler"),
    [
        (["run"], ["/bin/run"], ""),
        (["run", "app.handler"], ["/bin/run", "app.handler"], "app.handler"),
        (["python", "-m", "awslambdaric", "app.h"], ["/bin/python", "-m", "awslambdaric", "app.h"], "app.h"),
        (["--unknown", "x"], ["/bin/--unknown", "x"], "x"),
        (["--", "--cors"], ["/bin/--cors"], ""),
    ],
)
def test_what_is_no_option_is_the_runtime_s_command(
    command: Sequence[str], argv: Sequence[str], handler: str
) -> None:
    """The last argument behind the program is the handler, as AWS's emulator has it."""
    found = options("--log-level=debug", "--enable-init-caching", *command, PATH="/bin")
    assert (found.argv, found.handler, found.cwd, found.log_level) == (argv, handler, "/here", 10)


def test_defaults_are_those_of_aws_s_emulator() -> None:
    """Function, limits, addresses."""
    found = options("run")
    assert (found.name, found.version, found.timeout, found.memory_size) == (
        "test_function",
        "$LATEST",
        300,
        3008,
    )
    assert (found.door, found.api) == (("0.0.0.0", 8080), ("127.0.0.1", 9001))
    assert (found.most, found.cors, found.json_logs) == (None, None, False)


@pytest.mark.parametrize(
    ("arguments", "environ", "member", "value"),
    [
        (["--runtime-api-address", "0.0.0.0:9009"], {}, "api", ("0.0.0.0", 9009)),
        (["--runtime-interface-emulator-address=[::1]:80"], {}, "door", ("::1", 80)),
        (["--runtime-interface-emulator-address=:80"], {}, "door", ("0.0.0.0", 80)),
        (["--max-environments", "3"], {"BERTH_MAX_ENVIRONMENTS": "4"}, "most", 3),
        ([], {"BERTH_MAX_ENVIRONMENTS": "4"}, "most", 4),
        ([], {"BERTH_CORS": "*"}, "cors", "*"),
        (["--log-level", "WARN"], {"LOG_LEVEL": "debug"}, "log_level", 30),
        ([], {"LOG_LEVEL": "debug"}, "log_level", 10),
        ([], {"AWS_LAMBDA_FUNCTION_TIMEOUT": "7"}, "timeout", 7),
        ([], {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128"}, "memory_size", 128),
        ([], {"AWS_LAMBDA_FUNCTION_NAME": "mine"}, "name", "mine"),
        ([], {"AWS_LAMBDA_FUNCTION_VERSION": "7"}, "version", "7"),
        ([], {"_HANDLER": "a.b"}, "handler", "a.b"),
        ([], {"_HANDLER": "a.b", "AWS_LAMBDA_FUNCTION_HANDLER": "c.d"}, "handler", "c.d"),
        ([], {"AWS_LAMBDA_MAX_CONCURRENCY": "16"}, "concurrency", 16),
        ([], {"AWS_LAMBDA_MAX_CONCURRENCY": ""}, "concurrency", None),
        ([], {"AWS_LAMBDA_LOG_FORMAT": "json"}, "json_logs", True),
    ],
)  # fmt: skip
def test_options_and_variables(
    arguments: Sequence[str], environ: Mapping[str, str], member: str, value: Any
) -> None:
    """An option wins over its variable."""
    assert getattr(options(*arguments, "run", **environ), member) == value


@pytest.mark.parametrize(
    ("arguments", "environ", "text"),
    [
        (["--log-level"], {}, "--log-level needs a value"),
        (["--max-environments", "0"], {}, "--max-environments has to be a whole number above 0"),
        ([], {"AWS_LAMBDA_FUNCTION_TIMEOUT": "soon"}, "AWS_LAMBDA_FUNCTION_TIMEOUT has to be a whole number"),
        ([], {"AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "-1"}, "AWS_LAMBDA_FUNCTION_MEMORY_SIZE has to be"),
        (
            [],
            {"AWS_LAMBDA_MAX_CONCURRENCY": "0"},
            "AWS_LAMBDA_MAX_CONCURRENCY has to be a whole number above 0",
        ),
        ([], {"AWS_LAMBDA_MAX_CONCURRENCY": "many"}, "AWS_LAMBDA_MAX_CONCURRENCY has to be a whole number"),
        (["--runtime-api-address", "host"], {}, "--runtime-api-address has to be HOST:PORT"),
        (["--runtime-api-address", "host:99999"], {}, "--runtime-api-address has to be HOST:PORT"),
    ],
)
def test_nonsense_is_said_at_the_start(
    arguments: Sequence[str], environ: Mapping[str, str], text: str
) -> None:
    """Where AWS's emulator fails with the first invocation."""
    with pytest.raises(Misused, match=text):
        options(*([*arguments, "run"] if arguments != ["--log-level"] else arguments), **environ)


def test_without_a_command_the_usual_places_are_looked_at(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """The first that has a file counts, even if it cannot be executed."""
    places = [tmp_path / name for name in ("one", "two", "three")]
    monkeypatch.setattr(emulator_options, "PLACES", tuple(map(str, places)))
    with pytest.raises(Misused, match="Couldn't find valid bootstrap") as none:
        options()
    places[1].touch()
    with pytest.raises(Misused, match="chmod 755") as unfit:
        options()
    places[1].chmod(0o755)
    assert (none.value.status, unfit.value.status) == (127, 126)
    assert (options().argv, options(LAMBDA_TASK_ROOT="/t").cwd) == ([str(places[1])], "/t")


def test_the_runtime_sees_the_container_s_variables_and_lambda_s() -> None:
    """What the container sets wins where Lambda does not reserve it; nothing is made up about credentials."""
    environ = {
        "A": "1",
        "AWS_REGION": "eu-west-1",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "LAMBDA_TASK_ROOT": "/t",
        "_HANDLER": "x.y",
    }
    found = variables(options("run", "a.b", **environ), environ)
    assert found == {
        "A": "1",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "LAMBDA_TASK_ROOT": "/t",
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
        "AWS_LAMBDA_FUNCTION_NAME": "f",
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "3008",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/Functions",
        "AWS_LAMBDA_LOG_STREAM_NAME": "$LATEST",
        "_HANDLER": "a.b",
    }


def test_many_invocations_at_once_are_another_initialization_type() -> None:
    """Where nothing is asked for, runtime clients find no variable that asks: some look for its name alone."""
    plain, many = {"AWS_LAMBDA_MAX_CONCURRENCY": ""}, {"AWS_LAMBDA_MAX_CONCURRENCY": "4"}
    one = variables(options("run", **plain), plain)
    assert "AWS_LAMBDA_MAX_CONCURRENCY" not in one
    assert one["AWS_LAMBDA_INITIALIZATION_TYPE"] == ON_DEMAND
    four = variables(options("run", **many), many)
    assert four["AWS_LAMBDA_MAX_CONCURRENCY"] == "4"
    assert four["AWS_LAMBDA_INITIALIZATION_TYPE"] == MANAGED
