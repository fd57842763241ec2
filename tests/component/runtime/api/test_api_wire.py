"""The door itself: what it answers to requests that no SDK sends, and to those it cannot serve."""

import asyncio
import json
import secrets
from typing import Any

import pytest
from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.api.protocol import load_service
from runtime.api.server import IMPLEMENTED, refusal
from runtime.store.errors import StorageFull

FUNCTIONS = "/2015-03-31/functions"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/nothing"), ("PATCH", f"{FUNCTIONS}/f"), ("GET", "/2015-03-31"), ("DELETE", "/_berth/nothing")],
)
async def test_unknown_operation(door: Any, method: str, path: str) -> None:
    """What is no operation of Lambda's is a 404 in JSON."""
    status, headers, body = await door.raw(method, path)
    assert (status, headers["x-amzn-ErrorType"]) == (404, "UnknownOperationException")
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"message": f"Lambda has no operation {method} {path}"}


async def test_malformed_body(door: Any) -> None:
    """A body that is no JSON is a SerializationException."""
    status, headers, body = await door.raw("POST", FUNCTIONS, b"{")
    assert (status, headers["x-amzn-ErrorType"]) == (400, "SerializationException")
    assert json.loads(body)["message"].startswith("Could not parse request body into json: ")
    assert len(headers["x-amzn-RequestId"]) == 36


async def test_body_limits(door: Any) -> None:
    """Bodies are refused by their stated length before they are read."""
    for path, method, limit, operation in (
        (FUNCTIONS, "POST", 70_167_211, "CreateFunction"),
        (f"{FUNCTIONS}/f/code", "PUT", 70_167_211, "UpdateFunctionCode"),
        ("/2018-10-31/layers/l/versions", "POST", 70_167_211, "PublishLayerVersion"),
        (f"{FUNCTIONS}/f/configuration", "PUT", 6_291_456, "UpdateFunctionConfiguration"),
    ):
        host, port = door.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {limit + 1}\r\n\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 413 ")
        body = json.loads(await reader.readuntil(b"}"))
        assert body == {
            "Message": f"Request must be smaller than {limit} bytes for the {operation} operation"
        }
        writer.transport.abort()


async def test_web_pages_are_refused(door: Any) -> None:
    """A page in a browser cannot use the door: its requests carry an Origin."""
    for method, path in (("POST", FUNCTIONS), ("POST", f"{FUNCTIONS}/f/invocations"), ("GET", "/health")):
        status, headers, _ = await door.raw(method, path, Origin="https://example.com")
        assert (status, headers["x-amzn-ErrorType"]) == (403, "AccessDeniedException")


async def test_rebound_names_are_refused(door: Any) -> None:
    """A page whose own name resolves to this machine sends no Origin when it reads; its name gives it away."""
    for path in (FUNCTIONS, "/health", "/_berth/code/0?token=0"):
        status, headers, body = await door.raw("GET", path, Host="evil.example:3001")
        assert (status, headers["x-amzn-ErrorType"]) == (403, "AccessDeniedException")
        assert b"evil.example" in body
    for name in ("localhost:3001", "127.0.0.1", "berth:3001"):
        assert (await door.raw("GET", FUNCTIONS, Host=name))[0] == 200


async def test_further_handlers(door: Any) -> None:
    """The composition root's own paths are served as they are."""
    status, _, body = await door.raw("GET", "/health")
    assert (status, json.loads(body)) == (200, {"status": "ok"})


async def test_trailing_slash_and_unsigned(door: Any) -> None:
    """Old clients send a slash at the end, and nobody needs to sign."""
    status, _, body = await door.raw("GET", f"{FUNCTIONS}/")
    assert (status, json.loads(body)) == (200, {"Functions": []})


async def test_presigned_request(door: Any) -> None:
    """A presigned URL says in its query who asks."""
    request = AWSRequest("GET", f"{door.url}{FUNCTIONS}/f")
    SigV4QueryAuth(Credentials("000000000001", "secret"), "lambda", "eu-west-1").add_auth(request)
    status, _, body = await door.raw("GET", request.url.removeprefix(door.url))
    text = "Function not found: arn:aws:lambda:eu-west-1:000000000001:function:f"
    assert (status, json.loads(body)["Message"]) == (404, text)


async def test_not_implemented_operations(door: Any) -> None:
    """An operation without behaviour is refused by name, in a way that SDKs do not retry."""
    execution = "arn:aws:lambda:us-east-1:123456789012:function:f:1/durable-execution/name/id"
    refused = await door.refused(
        "get_durable_execution_state", DurableExecutionArn=execution, CheckpointToken="1"
    )
    text = "Berth does not implement GetDurableExecutionState yet."
    assert refused == (400, "InvalidParameterValueException", text)


def test_every_refusal_is_modelled() -> None:
    """The error of each operation that is not implemented is one that its clients know."""
    service = load_service()
    for name in set(service.operation_names) - IMPLEMENTED:
        operation = service.operation_model(name)
        error = refusal(operation)
        assert error.code in {shape.name for shape in operation.error_shapes}
        assert error.status < 500  # clients do not retry it


def test_implemented_operations_exist() -> None:
    """The table names operations of the model only."""
    assert set(load_service().operation_names) >= IMPLEMENTED


async def test_bug_in_an_operation(door: Any, monkeypatch: Any, caplog: Any) -> None:
    """Something unexpected is a 500 that points to the log, where the traceback is."""
    monkeypatch.setattr(door.store, "catalog", None)
    status, headers, body = await door.raw("GET", FUNCTIONS)
    document = json.loads(body)
    assert (status, document["Type"]) == (500, "Server")
    assert headers["x-amzn-RequestId"] in document["Message"]
    assert "NoneType" not in document["Message"]
    assert "NoneType" in caplog.text


async def test_full_disk(door: Any, monkeypatch: Any) -> None:
    """A full disk is said to be one, and not retried."""

    async def put(data: bytes) -> str:
        raise StorageFull("No space left on device while storing a package")

    monkeypatch.setattr(door.store.blobs, "put", put)
    with pytest.raises(Exception, match="No space left on device"):
        await door.create()


async def test_caller_identity(door: Any) -> None:
    """STS on the same endpoint says which account a caller is."""
    found = await door.aside(door.client("sts", key="000000000001").get_caller_identity)
    assert (found["Account"], found["UserId"]) == ("000000000001", "000000000001")
    assert found["Arn"] == "arn:aws:iam::000000000001:root"
    status, headers, body = await door.raw("GET", "/?Action=GetCallerIdentity&Version=2011-06-15")
    assert (status, headers["Content-Type"]) == (200, "text/xml")
    assert b"<Account>123456789012</Account>" in body


async def test_other_sts_actions(door: Any) -> None:
    """Anything else of STS is an error that SDKs can read."""
    client = door.client("sts")
    with pytest.raises(client.exceptions.ClientError, match="InvalidAction"):
        await door.aside(client.get_session_token)


@pytest.mark.parametrize(
    ("service", "operation", "params", "code"),
    [
        ("cloudwatch", "list_metrics", {}, "UnknownOperationException"),
        ("logs", "describe_log_groups", {}, "UnknownOperationException"),
        ("iam", "list_roles", {}, "InvalidAction"),
        ("s3", "list_buckets", {}, "NotImplemented"),
        ("s3", "get_object", {"Bucket": "b", "Key": "2015-03-31/functions"}, "NotImplemented"),
        ("scheduler", "list_schedules", {}, "UnknownOperationException"),
    ],
)
async def test_other_services(
    door: Any, service: str, operation: str, params: dict[str, str], code: str
) -> None:
    """Each client reads the refusal in its own protocol: which service it is, and where to say where that is."""
    client = door.client(service)
    with pytest.raises(ClientError) as error:
        await door.aside(getattr(client, operation), **params)
    found = error.value.response["Error"]
    assert found["Code"] == code
    assert found["Message"].startswith(
        f"Berth answers for Lambda and STS, not for {service}: set AWS_ENDPOINT_URL_"
    )


async def test_a_service_without_a_proper_name(door: Any) -> None:
    """What a credential scope says is not repeated as it comes."""
    signed = "AWS4-HMAC-SHA256 Credential=k/20260101/us-east-1/<b>/aws4_request"
    _, _, body = await door.raw("POST", "/", b"{}", Authorization=signed)
    assert json.loads(body)["message"] == "Berth answers for Lambda and STS only."


async def test_large_packages(door: Any, zip_of: Any) -> None:
    """A package beyond what is parsed on the event loop arrives whole."""
    package = zip_of(big=secrets.token_hex(400_000))
    assert len(package) > 300_000
    assert (await door.create(Code={"ZipFile": package}))["CodeSize"] == len(package)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = load_service().shape_for("CreateFunctionRequest").members
PLAUSIBLE = {
    "FunctionName": "f",
    "Role": "arn:aws:iam::123456789012:role/r",
    "Runtime": "python3.12",
    "Handler": "a.b",
    "Code": {"ZipFile": "UEsFBgAAAAAAAAAAAAAAAAAAAAAAAA=="},
    "Layers": ["arn:aws:lambda:us-east-1:123456789012:layer:l:1"],
    "Environment": {"Variables": {"AB": "c"}},
}
requests = st.fixed_dictionaries(
    {}, optional={name: json_values | st.just(PLAUSIBLE.get(name, {})) for name in MEMBERS}
).map(lambda document: {**PLAUSIBLE, **document})


async def test_no_body_breaks_the_door(door: Any) -> None:
    """Whatever JSON comes to CreateFunction, it is answered with something other than a 500."""
    statuses: list[int] = []

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(requests | json_values)
    def post(document: Any) -> None:
        body = json.dumps(document).encode()
        status, headers, _ = asyncio.run_coroutine_threadsafe(
            door.raw("POST", FUNCTIONS, body), loop
        ).result()
        statuses.append(status)
        assert status in {400, 409}, (headers["x-amzn-ErrorType"], document)

    loop = asyncio.get_running_loop()
    await door.aside(post)
    assert statuses


async def connected(door: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = door.url.removeprefix("http://").split(":")
    return await asyncio.open_connection(host, int(port))


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"{FUNCTIONS}/%ff/invocations", 400),
        (f"{FUNCTIONS}/%/invocations", 400),
        (f"{FUNCTIONS}/f/invocations?Qualifier=%ff", 400),
        (f"{FUNCTIONS}/f/invocations?%", 404),
        (f"{FUNCTIONS}/f/invocations?Qualifier=", 400),
        (f"{FUNCTIONS}/..%2f/invocations", 400),
        (f"{FUNCTIONS}//invocations", 404),
        ("//", 404),
        ("http://localhost/2015-03-31/functions/f/invocations", 404),
        ("http://localhost/nothing", 404),
    ],
)
async def test_odd_targets(door: Any, caplog: Any, target: str, status: int) -> None:
    """Request lines of all sorts are answered, and never with a 500."""
    reader, writer = await connected(door)
    writer.write(
        f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    answer = await reader.read()
    writer.close()
    assert answer.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert not caplog.records


async def test_no_host(door: Any) -> None:
    """HTTP/1.0 without a Host is served."""
    reader, writer = await connected(door)
    writer.write(f"GET {FUNCTIONS}/ HTTP/1.0\r\n\r\n".encode())
    assert (await reader.read()).endswith(b'{"Functions":[]}')
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST %s/f/invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
        b"POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{",
    ],
)
async def test_bodies_that_end_early(door: Any, caplog: Any, sent: bytes) -> None:
    """A client that leaves while it sends is its own trouble: nothing is logged, the door stays open."""
    reader, writer = await connected(door)
    writer.write(sent % FUNCTIONS.encode())
    writer.write_eof()
    await reader.read()
    writer.close()
    assert (await door.raw("GET", FUNCTIONS))[0] == 200
    assert not caplog.records


async def test_broken_chunks(door: Any) -> None:
    """Bytes that are no chunked body are refused, and the door stays open."""
    reader, writer = await connected(door)
    head = f"POST {FUNCTIONS} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    writer.write(b"no chunk\r\n")
    assert b" 400 " in await reader.readline()
    writer.close()
    assert (await door.raw("GET", FUNCTIONS))[0] == 200
