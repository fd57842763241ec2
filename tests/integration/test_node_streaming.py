"""`awslambda.streamifyResponse` of the managed Node.js runtime, as boto3 reads it."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

RUNTIME = "nodejs22.x"
pytestmark = pytest.mark.docker
HANDLER = """
export const handler = awslambda.streamifyResponse(async (event, stream, context) => {
  if (event.do === "throw before") throw new TypeError("before");
  if (event.do === "http") {
    stream = awslambda.HttpResponseStream.from(stream, { statusCode: 418, headers: { "x-a": "b" } });
  } else {
    stream.setContentType("text/event-stream");
  }
  for (const piece of ["one ", "two "]) {
    stream.write(piece);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  if (event.do === "throw") throw new RangeError("in mid-stream");
  if (event.do === "exit") process.exit(3);
  stream.end();
  await stream.finished();
});
"""


@pytest.fixture(scope="module")
def function(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A control plane with the function, invoked by what `do` shall be."""
    from tests.integration.conftest import Berth, make_zip

    berth = Berth(tmp_path_factory.mktemp("berth") / "data", "docker")
    berth.start()
    try:
        code = make_zip({"index.mjs": HANDLER})
        berth.deploy("node", code, Runtime=RUNTIME, Handler="index.handler")
        yield berth
    finally:
        berth.stop()


@pytest.fixture
def stream(function: Any) -> Callable[..., Any]:
    def stream(do: str = "") -> Any:
        payload = json.dumps({"do": do}).encode()
        answer = function.client.invoke_with_response_stream(FunctionName="node", Payload=payload)
        *chunks, last = answer["EventStream"]
        body = b"".join(each["PayloadChunk"]["Payload"] for each in chunks)
        return answer["ResponseStreamContentType"], body, last["InvokeComplete"]

    return stream


def test_stream(stream: Callable[..., Any]) -> None:
    """What is written, under the type that was set."""
    assert stream() == ("text/event-stream", b"one two ", {})


def test_metadata_for_http(stream: Callable[..., Any]) -> None:
    """The prelude passes as the runtime wrote it."""
    kind, body, end = stream("http")
    prelude, _, rest = body.partition(bytes(8))
    assert kind == "application/vnd.awslambda.http-integration-response"
    assert json.loads(prelude) == {"statusCode": 418, "headers": {"x-a": "b"}}
    assert (rest, end) == (b"one two ", {})


@pytest.mark.parametrize(
    ("do", "body", "error"),
    [("throw", b"one two ", ("RangeError", "in mid-stream")), ("throw before", b"", ("TypeError", "before"))],
)
def test_thrown(stream: Callable[..., Any], do: str, body: bytes, error: tuple[str, str]) -> None:
    """The error comes with the end, whether something had been written or not."""
    _, written, end = stream(do)
    assert (written, end["ErrorCode"]) == (body, "Unhandled")
    details = json.loads(end["ErrorDetails"])
    assert (details["errorType"], details["errorMessage"]) == error


def test_exit(stream: Callable[..., Any]) -> None:
    """A process that ends leaves a truncated response."""
    _, written, end = stream("exit")
    assert (written, end["ErrorCode"]) == (b"one two ", "Runtime.TruncatedResponse")
    assert "exit status 3" in end["ErrorDetails"]


def test_invoked_without_a_stream(function: Any) -> None:
    """Invoke collects it."""
    given = function.client.invoke(FunctionName="node", Payload=b"{}")
    assert (given["Payload"].read(), given.get("FunctionError")) == (b"one two ", None)
    given = function.client.invoke(FunctionName="node", Payload=b'{"do": "throw"}')
    assert (json.load(given["Payload"])["errorType"], given["FunctionError"]) == ("RangeError", "Unhandled")
