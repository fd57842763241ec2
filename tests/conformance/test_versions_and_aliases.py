"""Exercises on versions and aliases as courses have them, typed into the unmodified AWS CLI.

Functions run in this process: what matters here is which version of which code a command reaches.
"""

import asyncio
import json
import os
import random
import sys
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from runtime.api.server import build_api
from runtime.fleet import Fleet
from runtime.invoker import Invoker, InvokeRequest, InvokeResult
from runtime.model import FunctionVersion
from runtime.store import Store
from runtime.streamed import Streamed

AWS = Path(sys.executable).parent / "aws"
Aws = Callable[..., Awaitable[Any]]


class InProcess:
    """Decides as the real invoker does, with chance that can be repeated, and runs the handler of what it finds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._invoker = Invoker(
            lambda: store.catalog,
            cast("Fleet", None),
            draw=random.Random(1).random,  # noqa: S311
        )

    def check(self, request: InvokeRequest) -> FunctionVersion:
        return self._invoker.check(request)

    async def invoke(self, request: InvokeRequest) -> InvokeResult:
        version = self.check(request)
        module, _, handler = (version.config.handler or "").partition(".")
        with zipfile.ZipFile(self._store.blobs.path(version.code.digest)) as package:
            source = package.read(f"{module}.py")
        names: dict[str, Any] = {}
        exec(source, names)  # noqa: S102 -- the exercises' own few lines
        return InvokeResult(
            payload=json.dumps(names[handler](json.loads(request.payload), None)).encode(),
            executed_version=version.version,
            function_error=None,
            log_tail=b"",
            trace_id="Root=1-5759e988-bd862e3fe1be46a994272793",
        )

    async def stream(self, request: InvokeRequest) -> Streamed:
        raise NotImplementedError


class Ready:
    """Everything is always prepared."""

    def warm(self, version: FunctionVersion) -> None:
        """Nothing is launched here."""

    async def prepare(self, version: FunctionVersion) -> None:
        pass


@pytest.fixture
def lambda_cli(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Aws]]:
    """A door with the given options, and what runs `aws lambda …` against it: the JSON that it prints, or its error."""

    @asynccontextmanager
    async def open_door(**options: Any) -> AsyncIterator[Aws]:
        store = await Store.open(tmp_path / "data")
        api = build_api(
            store=store,
            invoker=InProcess(store),
            readiness=Ready(),
            retired=lambda _scope, _name: None,
            account_id="123456789012",
            region="us-east-1",
            **options,
        )
        server = api.server()
        listener = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

        async def aws(*arguments: str, service: str = "lambda", fails: bool = False) -> Any:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                AWS,
                service,
                *arguments,
                env=environment,
                cwd=tmp_path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            output, errors = await process.communicate()
            assert bool(process.returncode) == fails, errors.decode()
            if fails:
                return errors.decode()
            return json.loads(output) if output.strip() else None

        yield aws
        listener.close()
        server.pre_shutdown()
        await server.shutdown(1)
        await api.close()
        await store.close()

    return open_door


def package(directory: Path, name: str, module: str, **body: Any) -> str:
    """Make a zip of a handler that answers with `body`; the option that sends it."""
    source = (
        "import json\n\n"
        "def lambda_handler(event, context):\n"
        f"    return {{'statusCode': 200, 'body': json.dumps({body!r})}}\n"
    )
    with zipfile.ZipFile(directory / name, "w") as archive:
        archive.writestr(f"{module}.py", source)
    return f"fileb://{name}"


async def create(aws: Aws, name: str, handler: str, zip_file: str) -> None:
    account = (await aws("get-caller-identity", service="sts"))["Account"]
    await aws(
        *("create-function", "--function-name", name, "--runtime", "python3.9"),
        *("--role", f"arn:aws:iam::{account}:role/MyFirstLambdaRole"),
        *("--handler", handler, "--zip-file", zip_file),
    )
    await aws("wait", "function-active-v2", "--function-name", name)


async def body(aws: Aws, tmp_path: Path, name: str) -> Any:
    """Invoke, and what the function said."""
    await aws("invoke", "--function-name", name, "--payload", "{}", "response.json")
    return json.loads(json.loads((tmp_path / "response.json").read_bytes())["body"])


async def test_exercise_with_versions(lambda_cli: Any, tmp_path: Path) -> None:
    """
    The exercise as printed, with waiters where it sleeps or hurries on.
    1. Version 1 is published, code updated, version 2 published; all three are invoked.
    2. Versions are listed, then deleted in reverse order, then the function.
    Result: every answer is what the exercise expects.
    """
    old, new = {"message": "Version 1.0 - Initial release"}, {"message": "Version 2.0 - Added new feature"}
    function = ("--function-name", "VersionedFunction")
    async with lambda_cli() as aws:
        zip_file = package(tmp_path, "function-v1.zip", "versioned_function", **old)
        await create(aws, function[1], "versioned_function.lambda_handler", zip_file)
        assert await body(aws, tmp_path, "VersionedFunction") == old
        made = await aws("publish-version", *function, "--description", "Version 1.0 - Initial release")
        assert (made["Version"], made["Description"]) == ("1", "Version 1.0 - Initial release")

        zip_file = package(tmp_path, "function-v2.zip", "versioned_function", **new)
        await aws("update-function-code", *function, "--zip-file", zip_file)
        await aws("wait", "function-updated", *function)
        made = await aws("publish-version", *function, "--description", "Version 2.0 - Added new feature")
        assert made["Version"] == "2"

        assert await body(aws, tmp_path, "VersionedFunction") == new
        assert await body(aws, tmp_path, "VersionedFunction:1") == old
        assert await body(aws, tmp_path, "VersionedFunction:2") == new

        listed = await aws("list-versions-by-function", *function)
        assert [each["Version"] for each in listed["Versions"]] == ["$LATEST", "1", "2"]
        details = await aws("get-function-configuration", *function, "--qualifier", "2")
        assert details["Version"] == "2"
        for name in ("VersionedFunction:2", "VersionedFunction:1", "VersionedFunction"):
            await aws("delete-function", "--function-name", name)
        assert (await aws("list-functions"))["Functions"] == []


async def two_versions(aws: Aws, tmp_path: Path) -> None:
    """
    Step 1 of the exercise. Its second package has another module, so its handler must be named too: as printed, version
    2 could not be imported.
    """
    function = ("--function-name", "AliasTestFunction")
    zip_file = package(tmp_path, "function-v1.zip", "alias_function_v1", version=1)
    await create(aws, function[1], "alias_function_v1.lambda_handler", zip_file)
    await aws("publish-version", *function, "--description", "Version 1 - Stable")
    zip_file = package(tmp_path, "function-v2.zip", "alias_function_v2", version=2)
    await aws("update-function-code", *function, "--zip-file", zip_file)
    await aws("wait", "function-updated", *function)
    handler = "alias_function_v2.lambda_handler"
    await aws("update-function-configuration", *function, "--handler", handler)
    await aws("wait", "function-updated", *function)
    await aws("publish-version", *function, "--description", "Version 2 - New Feature")


async def shares(aws: Aws, tmp_path: Path, times: int) -> Counter[int]:
    return Counter([(await body(aws, tmp_path, "AliasTestFunction:PROD"))["version"] for _ in range(times)])


async def test_exercise_with_aliases(lambda_cli: Any, tmp_path: Path) -> None:
    """
    The exercise as on AWS: the end of the migration clears the routing in words.
    1. PROD leads to version 1; then one in ten, then every second invocation goes to version 2.
    2. The step that names version 2 and says nothing of routing is refused; with an empty routing it is done.
    3. PROD goes back to version 1; alias, versions and function are deleted.
    Result: invocations go where each step says.
    """
    function = ("--function-name", "AliasTestFunction")
    prod = (*function, "--name", "PROD")
    async with lambda_cli() as aws:
        await two_versions(aws, tmp_path)
        await aws("create-alias", *prod, "--function-version", "1", "--description", "Production environment")
        assert await shares(aws, tmp_path, 2) == {1: 2}

        routing = ("--function-version", "1", "--routing-config", "AdditionalVersionWeights={2=0.1}")
        assert (await aws("update-alias", *prod, *routing))["RoutingConfig"] == {
            "AdditionalVersionWeights": {"2": 0.1}
        }
        assert (await shares(aws, tmp_path, 10))[1] >= 6
        routing = ("--function-version", "1", "--routing-config", "AdditionalVersionWeights={2=0.5}")
        await aws("update-alias", *prod, *routing)
        assert set(await shares(aws, tmp_path, 12)) == {1, 2}

        refused = await aws("update-alias", *prod, "--function-version", "2", fails=True)
        assert "Function version 2 is already included in routing configuration." in refused
        await aws("delete-function", "--function-name", "AliasTestFunction:2", fails=True)
        done = await aws("update-alias", *prod, "--function-version", "2", "--routing-config", "{}")
        assert "RoutingConfig" not in done
        assert await shares(aws, tmp_path, 3) == {2: 3}

        await aws("update-alias", *prod, "--function-version", "1")
        assert await shares(aws, tmp_path, 2) == {1: 2}
        assert (await aws("get-alias", *prod))["FunctionVersion"] == "1"
        assert [each["Name"] for each in (await aws("list-aliases", *function))["Aliases"]] == ["PROD"]
        await aws("delete-alias", *prod)
        for name in ("AliasTestFunction:2", "AliasTestFunction:1", "AliasTestFunction"):
            await aws("delete-function", "--function-name", name)
        assert (await aws("list-functions"))["Functions"] == []


async def test_exercise_with_aliases_as_printed(lambda_cli: Any, tmp_path: Path) -> None:
    """With `lenient_routing` the migration ends as printed, without a word about routing; so does the way back."""
    prod = ("--function-name", "AliasTestFunction", "--name", "PROD")
    async with lambda_cli(lenient_routing=True) as aws:
        await two_versions(aws, tmp_path)
        routing = ("--function-version", "1", "--routing-config", "AdditionalVersionWeights={2=0.5}")
        await aws("create-alias", *prod, *routing)
        await aws("update-alias", *prod, "--function-version", "2")
        assert await shares(aws, tmp_path, 3) == {2: 3}
        await aws("update-alias", *prod, "--function-version", "1")
        assert await shares(aws, tmp_path, 3) == {1: 3}
