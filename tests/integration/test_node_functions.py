"""What Node.js functions find around them: modules, layers, the SDK, options, kinds of handlers, logs."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from tests.helpers.languages import NODE, in_containers

pytestmark = in_containers

Deploy = Callable[..., None]

NAME = "export const name = '{}';"
COMMON_NAME = "exports.name = '{}';"


@pytest.fixture
def deploy(berth: Any, name: str, zip_of: Callable[..., bytes]) -> Deploy:
    """Creates the test's function of these files, with variables, and a layer of the files whose paths begin with opt/."""

    def deploy(
        files: Mapping[str, str],
        modes: Mapping[str, int] | None = None,
        variables: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        layer = {path.removeprefix("opt/"): text for path, text in files.items() if path.startswith("opt/")}
        if layer:
            content = zip_of(layer, modes)
            published = berth.client.publish_layer_version(LayerName=name, Content={"ZipFile": content})
            options["Layers"] = [published["LayerVersionArn"]]
        package = zip_of({path: text for path, text in files.items() if not path.startswith("opt/")})
        options["Environment"] = {"Variables": dict(variables or {})}
        berth.deploy(name, package, Runtime=NODE.runtime, **options)

    return deploy


def package(name: str, code: str, folder: str = "nodejs") -> dict[str, str]:
    """The files of a package of ES modules in a layer."""
    place = f"opt/{folder}/node_modules/{name}"
    about = {"name": name, "exports": {"import": "./main.mjs", "require": "./main.cjs"}}
    return {f"{place}/package.json": json.dumps(about), f"{place}/main.mjs": code, f"{place}/main.cjs": ""}


@pytest.mark.parametrize("file", ["app.mjs", "app.js"])
def test_es_modules(berth: Any, name: str, deploy: Deploy, file: str) -> None:
    """By the file's name or by package.json; static code may await."""
    code = """
import { join } from "node:path";
import { one } from "./lib/one.mjs";
const two = await Promise.resolve(2);
export const handler = async () => [join("a", "b"), one, two, import.meta.url];
"""
    files = {file: code, "lib/one.mjs": "export const one = 1;"}
    if file == "app.js":
        files["package.json"] = '{"type": "module"}'
    deploy(files)
    assert berth.invoke(name).payload == ["a/b", 1, 2, f"file:///var/task/{file}"]


def test_layers_with_import(berth: Any, name: str, deploy: Deploy) -> None:
    """Packages of layers are found by `import`, those for this version first; the function's own come before them."""
    code = """
import { name as both } from "both";
import { name as general } from "general";
import { name as own } from "own";
export const handler = async () => {
  const { name: late } = await import("late");
  const missing = await import("nosuch").catch((error) => error.message);
  return { both, general, own, late, missing };
};
"""
    own = {
        path.removeprefix("opt/nodejs/"): text for path, text in package("own", NAME.format("mine")).items()
    }
    deploy(
        {
            "app.mjs": code,
            **own,
            **package("own", NAME.format("layer")),
            **package("general", NAME.format("general")),
            **package("late", NAME.format("late")),
            **package("both", NAME.format("any version")),
            **package("both", NAME.format("version 22"), "nodejs/node22"),
        }
    )
    assert berth.invoke(name).payload == {
        "both": "version 22",
        "general": "general",
        "own": "mine",
        "late": "late",
        "missing": "Cannot find package 'nosuch' imported from /var/task/app.mjs",
    }


def test_layers_with_require(berth: Any, name: str, deploy: Deploy) -> None:
    """As ever, through NODE_PATH."""
    place = "opt/nodejs/{}node_modules/both/index.js"
    deploy(
        {
            "app.js": "const { name } = require('both'); exports.handler = async () => name;",
            place.format(""): COMMON_NAME.format("any version"),
            place.format("node22/"): COMMON_NAME.format("version 22"),
        }
    )
    assert berth.invoke(name).payload == "version 22"


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("app.js", "const { LambdaClient } = require('@aws-sdk/client-lambda');"),
        ("app.mjs", "import { LambdaClient } from '@aws-sdk/client-lambda';"),
    ],
)
def test_the_sdk_is_there(berth: Any, name: str, deploy: Deploy, file: str, line: str) -> None:
    """Functions need not bring it; it works with the function's own region and credentials."""
    export = "exports.handler =" if file == "app.js" else "export const handler ="
    code = f"""{line}
{export} async () => {{
  const client = new LambdaClient();
  const {{ accessKeyId }} = await client.config.credentials();
  return [await client.config.region(), accessKeyId === process.env.AWS_ACCESS_KEY_ID];
}};"""
    deploy({file: code})
    assert berth.invoke(name).payload == ["us-east-1", True]


def test_callbacks(berth: Any, name: str, deploy: Deploy) -> None:
    """A handler may call back, with a result or an error, and what is left to do then is waited for."""
    code = """
let timers = 0;
exports.handler = (event, context, callback) => {
  setTimeout(() => { timers += 1; }, 20);
  if (event.fails) callback(new TypeError("no"));
  else callback(null, timers);
};"""
    deploy({"app.js": code})
    assert [berth.invoke(name).payload for _ in range(3)] == [0, 1, 2]
    failed = berth.invoke(name, {"fails": True})
    assert failed.error == "Unhandled"
    assert (failed.payload["errorType"], failed.payload["errorMessage"]) == ("TypeError", "no")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("Promise.reject(new Error('lost'));", ("Runtime.UnhandledPromiseRejection", "Error: lost")),
        ("setTimeout(() => { throw new RangeError('late'); });", ("RangeError", "late")),
    ],
)
def test_errors_that_nobody_handles(
    berth: Any, name: str, deploy: Deploy, code: str, error: tuple[str, str]
) -> None:
    """They end the process; the client gets the runtime's document, and the next invocation works."""
    handler = f"""
let runs = 0;
exports.handler = async (event) => {{
  runs += 1;
  if (event.fails) {{ {code} await new Promise((done) => setTimeout(done, 10000)); }}
  return runs;
}};"""
    deploy({"app.js": handler})
    failed = berth.invoke(name, {"fails": True})
    assert failed.error == "Unhandled"
    assert (failed.payload["errorType"], failed.payload["errorMessage"]) == error
    assert failed.log.rstrip().endswith("Status: error\tError Type: Runtime.ExitError")
    assert berth.invoke(name).payload == 1


def test_features_that_lambda_turns_off(berth: Any, name: str, deploy: Deploy) -> None:
    """ES modules can be required only where NODE_OPTIONS says so."""
    code = """
exports.handler = async () => {
  try { return require("./module.mjs").name; } catch (error) { return error.code; }
};"""
    deploy({"app.js": code, "module.mjs": NAME.format("module")})
    assert berth.invoke(name).payload == "ERR_REQUIRE_ESM"
    variables = {"NODE_OPTIONS": "--experimental-require-module"}
    berth.client.update_function_configuration(FunctionName=name, Environment={"Variables": variables})
    berth.client.get_waiter("function_updated_v2").wait(FunctionName=name)
    assert berth.invoke(name).payload == "module"


@pytest.mark.parametrize(
    ("options", "heap"),
    [("", range(225, 256)), ("--max-old-space-size=100", range(100, 120))],
)
def test_the_heap(berth: Any, name: str, deploy: Deploy, options: str, heap: range) -> None:
    """It may take most of the function's memory, unless the function says otherwise."""
    code = "exports.handler = async () => require('v8').getHeapStatistics().heap_size_limit >> 20;"
    deploy({"app.js": code}, variables={"NODE_OPTIONS": options}, MemorySize=256)
    assert berth.invoke(name).payload in heap


def test_a_heap_that_is_full(berth: Any, name: str, deploy: Deploy) -> None:
    """Node ends itself, before the kernel would."""
    code = "exports.handler = async () => { for (const all = []; ; ) all.push(new Array(1000).fill({})); };"
    deploy({"app.js": code})
    answer = berth.invoke(name)
    assert answer.payload["errorMessage"].endswith("Runtime exited with error: signal: aborted")
    assert answer.log.rstrip().endswith("Error Type: Runtime.ExitError")


def test_an_exec_wrapper(berth: Any, name: str, deploy: Deploy) -> None:
    """It gets the command that would have been run, and can change it."""
    wrapper = '#!/bin/sh\nexport WRAPPED="$*"\nnode=$1\nshift\nexec "$node" --title=wrapped "$@"\n'
    code = "exports.handler = async () => [process.title, process.env.WRAPPED];"
    deploy(
        {"app.js": code, "opt/wrapper": wrapper},
        {"wrapper": 0o755},
        {"AWS_LAMBDA_EXEC_WRAPPER": "/opt/wrapper"},
    )
    title, command = berth.invoke(name).payload
    assert title == "wrapped"
    assert command.startswith("/var/lang/bin/node --")
    assert command.endswith(" /var/runtime/index.mjs")


def test_json_logs(berth: Any, name: str, deploy: Deploy) -> None:
    """The console writes documents, and leaves out what is below the level."""
    code = """
exports.handler = async () => {
  console.info("not said");
  console.warn("said", { much: true });
  console.error(new RangeError("bad"));
};"""
    deploy({"app.js": code}, LoggingConfig={"LogFormat": "JSON", "ApplicationLogLevel": "WARN"})
    answer = berth.invoke(name)
    documents = [json.loads(line) for line in answer.log.splitlines()]
    assert [each.get("type") or each["level"] for each in documents] == [
        "platform.start",
        "WARN",
        "ERROR",
        "platform.report",
    ]
    assert documents[1]["message"] == "said { much: true }"
    assert documents[1]["requestId"] == answer.request_id
    assert documents[2]["message"]["errorType"] == "RangeError"
