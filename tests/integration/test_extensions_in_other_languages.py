"""External extensions that are no Python programs, beside functions that are none either."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.helpers.desk import NODE_PARTY, Desk
from tests.helpers.languages import NODE, PYTHON, in_containers
from tests.helpers.platform_lines import messages

pytestmark = in_containers

HANDLER = """
const { Desk } = require("party");

const desk = new Desk("runtime");
desk.tell("loaded");
let runs = 0;

exports.handler = async (event) => {
  runs += 1;
  await desk.tell("handling");
  if (event.do === "exit") process.exit(1);
  return runs;
};
"""
EXTENSION = """\
#!/var/lang/bin/node
const { basename } = require("node:path");
const { Desk, Extension } = require("/opt/nodejs/node_modules/party");

(async () => {
  const extension = new Extension(basename(process.argv[1]));
  const desk = new Desk(extension.name);
  await desk.tell("launched", { variables: process.env, directory: process.cwd() });
  await desk.tell("registered", { about: await extension.register("INVOKE", "SHUTDOWN") });
  for (;;) {
    const event = await extension.next();
    await desk.tell(event.eventType, { event });
    if (event.eventType === "SHUTDOWN") process.exit();
  }
})();
"""
SHELL_EXTENSION = """\
#!/bin/bash
set -eu
api=http://$AWS_LAMBDA_RUNTIME_API/2020-01-01/extension
headers=$(mktemp)
curl -sS -o /dev/null -D "$headers" -H "Lambda-Extension-Name: ${0##*/}" -d '{"events": ["INVOKE"]}' "$api/register"
id=$(sed -n 's/^Lambda-Extension-Identifier: \\([^[:space:]]*\\).*/\\1/Ip' "$headers")
while :; do
    echo "heard $(curl -sS -H "Lambda-Extension-Identifier: $id" "$api/event/next")"
done
"""
BOOTSTRAP = """\
#!/bin/bash
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime
while :; do
    headers=$(mktemp)
    event=$(curl -sS -D "$headers" "$api/invocation/next")
    id=$(sed -n 's/^Lambda-Runtime-Aws-Request-Id: \\([^[:space:]]*\\).*/\\1/Ip' "$headers")
    curl -sS -o /dev/null "$api/invocation/$id/response" -d "$event"
done
"""


@pytest.fixture
def desk(berth: Any, name: str) -> Iterator[Desk]:
    berth.deploy(f"any-{name}"[:60], PYTHON.idle)  # so that the address is known
    with Desk(berth.function_host) as opened:
        yield opened


@pytest.fixture
def with_extension(berth: Any, name: str, zip_of: Callable[..., bytes]) -> Callable[..., None]:
    """Creates the test's function with an extension `agent` in a layer."""

    def deploy(files: dict[str, str], extension: str, **options: Any) -> None:
        layer = {"extensions/agent": extension, "nodejs/node_modules/party/index.js": NODE_PARTY}
        content = zip_of(layer, {"extensions/agent": 0o755})
        published = berth.client.publish_layer_version(LayerName=name, Content={"ZipFile": content})
        package = zip_of(files, {"bootstrap": 0o755})
        berth.deploy(name, package, Layers=[published["LayerVersionArn"]], **options)

    return deploy


@pytest.fixture
def deploy(desk: Desk, with_extension: Callable[..., None]) -> Callable[[], None]:
    """Creates a function and an extension of Node.js that report to the desk."""

    def deploy() -> None:
        variables = {"Variables": {"DESK": desk.address}}
        with_extension({"app.js": HANDLER}, EXTENSION, Runtime=NODE.runtime, Environment=variables)

    return deploy


def test_a_life_with_an_extension_in_node(
    berth: Any, name: str, desk: Desk, deploy: Callable[[], None]
) -> None:
    """It registers before the runtime starts, hears of every invocation, and of the end."""
    deploy()
    answers = [berth.invoke(name) for _ in range(2)]
    assert [answer.payload for answer in answers] == [1, 2]
    launched = desk.hear("agent", "launched")
    assert launched["directory"] == "/"
    assert not {"AWS_EXECUTION_ENV", "LAMBDA_TASK_ROOT", "_HANDLER"} & launched["variables"].keys()
    status, about = desk.hear("agent", "registered")["about"]
    assert (status, about["functionName"], about["handler"]) == (200, name, "app.handler")
    for number, answer in enumerate(answers, 1):
        event = desk.hear("agent", "INVOKE", nth=number)["event"]
        assert event["requestId"] == answer.request_id
    berth.client.delete_function(FunctionName=name)
    assert desk.hear("agent", "SHUTDOWN")["event"]["shutdownReason"] == "spindown"
    desk.hear("agent", "gone")
    order = desk.order
    assert order.index("agent registered") < order.index("runtime loaded")
    assert order.index("runtime gone") < order.index("agent SHUTDOWN")
    assert "EXTENSION\tName: agent\tState: Ready\tEvents: [INVOKE,SHUTDOWN]" in map(
        str.strip, messages(berth, name)
    )


def test_a_crash_of_node_beside_an_extension(
    berth: Any, name: str, desk: Desk, deploy: Callable[[], None]
) -> None:
    """The extension hears of a failure; the next invocation has both anew."""
    deploy()
    answer = berth.invoke(name, {"do": "exit"})
    assert answer.payload["errorType"] == "Runtime.ExitError"
    assert desk.hear("agent", "SHUTDOWN")["event"]["shutdownReason"] == "failure"
    assert berth.invoke(name).payload == 1
    desk.hear("agent", "registered", nth=2)
    desk.hear("agent", "INVOKE", nth=2)


def test_an_extension_in_shell(berth: Any, name: str, with_extension: Callable[..., None]) -> None:
    """Beside a runtime in shell: two scripts and curl."""
    with_extension({"bootstrap": BOOTSTRAP}, SHELL_EXTENSION, Runtime="provided.al2023")
    answers = [berth.invoke(name, {"number": number}) for number in range(2)]
    assert [answer.payload for answer in answers] == [{"number": 0}, {"number": 1}]
    heard = [
        json.loads(line.removeprefix("heard ")) for line in messages(berth, name) if line.startswith("heard ")
    ]
    assert [event["requestId"] for event in heard] == [answer.request_id for answer in answers]
