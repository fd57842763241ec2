"""The pytest plugin: fixtures that give each test a Lambda of its own.

    def test_greeting(berth, berth_client): …

Every pytest run loads it where Berth is installed, so it imports nothing but pytest until a test asks for a fixture, and
hooks into nothing until then. What the fixtures hand out is in the modules beside it.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from runtime.testing.namespace import Namespace
    from runtime.testing.server import Server

ARGUMENTS = "berth_up"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(ARGUMENTS, "arguments of `berth up`, where tests start a Berth of their own", type="args")


@pytest.fixture(scope="session")
def berth_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator["Server"]:
    """A running Berth: the one that BERTH_ENDPOINT names, else one of the run's own on a free port."""
    from runtime.testing.reporting import Reporter  # noqa: PLC0415 -- not before it is asked for
    from runtime.testing.server import CannotServe, serving  # noqa: PLC0415 -- the same

    # Workers of pytest-xdist share the directory above theirs, and so one Berth.
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if hasattr(request.config, "workerinput") else base
    arguments = request.config.getini(ARGUMENTS)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(serving(Path(shared) / "berth", arguments))
        except CannotServe as error:
            reason = str(error)
        else:
            request.config.pluginmanager.register(
                Reporter(server)
            )  # to stay: the last report comes after this
            yield server
            return
    pytest.fail(reason, pytrace=False)


@pytest.fixture
def berth(berth_server: "Server") -> Iterator["Namespace"]:
    """An account of the test's own: it sees nothing of other tests, and all in it is deleted afterwards."""
    with berth_server.namespace() as namespace:
        yield namespace


@pytest.fixture
def berth_client(berth: "Namespace") -> Any:
    """The SDK's Lambda client (as of `boto3.client("lambda")`) in the test's account."""
    return berth.client


@pytest.fixture
def berth_environ(berth: "Namespace", monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables that lead SDKs and the AWS CLI to the test's account, set for as long as the test runs."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in berth.variables.items():
        monkeypatch.setenv(name, value)
    return berth.variables
