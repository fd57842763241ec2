"""What a subscription may ask for: every limit from both sides, everything that is wrong told at once."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rapid.subscriptions import (
    LIMITS,
    VERSIONS,
    Api,
    Buffering,
    HttpDestination,
    Invalid,
    Subscription,
    TcpDestination,
    parse,
)

HTTP = {"protocol": "HTTP", "URI": "http://sandbox.localdomain:8080/lambda_logs"}
TCP = {"protocol": "TCP", "port": 8080}
GOOD: dict[str, Any] = {"schemaVersion": "2022-07-01", "types": ["platform"], "destination": HTTP}


def read(api: Api = Api.TELEMETRY, **members: Any) -> Subscription:
    """A good document with some members replaced; None leaves one out."""
    document = {name: value for name, value in (GOOD | members).items() if value is not None}
    return parse(api, json.dumps(document).encode())


def wrong(api: Api = Api.TELEMETRY, **members: Any) -> str:
    """What is said of a document."""
    with pytest.raises(Invalid) as refused:
        read(api, **members)
    return str(refused.value)


def towards(**members: Any) -> dict[str, Any]:
    """A destination with some members replaced; None leaves one out."""
    return {name: value for name, value in (HTTP | members).items() if value is not None}


def test_the_documentation_s_example() -> None:
    """As in AWS's guide."""
    buffering = {"maxItems": 1000, "maxBytes": 262144, "timeoutMs": 100}
    assert read(
        Api.LOGS, schemaVersion="2020-08-15", types=["platform", "function"], buffering=buffering
    ) == (
        Subscription(
            Api.LOGS,
            "2020-08-15",
            ("platform", "function"),
            HttpDestination("sandbox.localdomain", 8080, "/lambda_logs", "POST"),
            Buffering(1000, 262144, 0.1),
        )
    )


def test_defaults() -> None:
    """What need not be said."""
    assert read().buffering == read(buffering={}).buffering == Buffering(10_000, 262_144, 1.0)
    assert read(Api.LOGS, schemaVersion=None).version == "2020-08-15"
    assert read(destination=TCP).destination == TcpDestination(8080)
    assert read(more="of it").types == ("platform",)


@pytest.mark.parametrize("api", list(Api))
def test_versions(api: Api) -> None:
    """Each API has its own."""
    for version in VERSIONS[api]:
        assert read(api, schemaVersion=version).version == version
    other = Api.LOGS if api is Api.TELEMETRY else Api.TELEMETRY
    others: tuple[Any, ...] = (*VERSIONS[other], "", "2020-08-16", 20220701, ["2022-07-01"])
    for version in others:
        assert wrong(api, schemaVersion=version).startswith("schemaVersion should be 20")
    assert wrong(schemaVersion=None) == "schemaVersion is not provided"


def test_types() -> None:
    """At least one, none but the three, each once however often it is asked for."""
    assert read(types=["extension", "function", "platform"]).types == ("extension", "function", "platform")
    assert read(types=["function", "function"]).types == ("function",)
    assert wrong(types=[]) == wrong(types=None) == "types should not be empty"
    for types in (["other"], ["platform", 1], [None], [["platform"]], "platform", {"platform": 1}, 5):
        assert wrong(types=types) == "types should be a list of platform, function or extension"


@pytest.mark.parametrize("name", LIMITS)
def test_buffering(name: str) -> None:
    """Every limit from both sides."""
    least, greatest = LIMITS[name]
    for value in (least, greatest):
        assert read(buffering={name: value})
    others: tuple[Any, ...] = (least - 1, greatest + 1, 0, -least, str(least), float(least), True, [least])
    for value in others:
        assert wrong(buffering={name: value}) == f"{name} should be between {least} and {greatest}"
    assert wrong(buffering=[name]) == "buffering should be an object"


def test_buffering_is_kept_apart() -> None:
    """Each value arrives where it belongs."""
    given = read(buffering={"maxItems": 1001, "maxBytes": 262145, "timeoutMs": 26}).buffering
    assert given == Buffering(1001, 262145, 0.026)


@pytest.mark.parametrize(
    ("uri", "host", "port", "path"),
    [
        ("http://sandbox.localdomain:1", "sandbox.localdomain", 1, "/"),
        ("http://sandbox.localdomain:65535/", "sandbox.localdomain", 65535, "/"),
        ("http://sandbox:4243/a/b?c=d#e", "sandbox", 4243, "/a/b?c=d"),
        ("HTTP://SANDBOX.localdomain:80/A%20b", "sandbox.localdomain", 80, "/A%20b"),
        ("http://sandbox.localdomain:80?q", "sandbox.localdomain", 80, "/?q"),
    ],
)
def test_addresses(uri: str, host: str, port: int, path: str) -> None:
    """The sandbox under its two names, any port, path and query kept."""
    given = read(destination=towards(URI=uri)).destination
    assert given == HttpDestination(host, port, path, "POST")


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        (None, "URI is not provided"),
        ("", "URI is not provided"),
        (8080, "URI should be a string"),
        ("http://sandbox.localdomain", "URI port is not provided"),
        ("http://sandbox.localdomain:", "URI port is not provided"),
        ("http://sandbox.localdomain:9001", "URI port 9001 is reserved"),
        ("http://sandbox.localdomain:0", "URI port should be between 1 and 65535"),
        ("http://sandbox.localdomain:65536", "URI is not valid"),
        ("http://sandbox.localdomain:x", "URI is not valid"),
        ("http://[sandbox:1", "URI is not valid"),
        ("http://sandbox.localdomain:80/a b", "URI is not valid"),
        ("http://sandbox.localdomain:80/a\r\nX: y", "URI is not valid"),
        ("http://sandbox.localdomain:80/ü", "URI is not valid"),
        ("https://sandbox.localdomain:80", "URI scheme should be http"),
        ("sandbox.localdomain:80", "URI scheme should be http; URI host should be sandbox.localdomain; URI port is not provided"),
        ("http://localhost:80", "URI host should be sandbox.localdomain"),
        ("http://127.0.0.1:80", "URI host should be sandbox.localdomain"),
        ("http://example.com:80", "URI host should be sandbox.localdomain"),
        ("http://sandbox.localdomain.example.com:80", "URI host should be sandbox.localdomain"),
        ("http://sandbox.localdomain:80@example.com:80", "URI host should be sandbox.localdomain"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(uri: Any, said: str) -> None:
    """Nothing but the sandbox itself can be written to."""
    assert wrong(destination=towards(URI=uri)) == said


@pytest.mark.parametrize(
    ("port", "said"),
    [
        (None, "port is not provided"),
        (0, "port should be between 1 and 65535"),
        (65536, "port should be between 1 and 65535"),
        ("80", "port should be between 1 and 65535"),
        (80.5, "port should be between 1 and 65535"),
        (True, "port should be between 1 and 65535"),
        (9001, "port 9001 is reserved"),
    ],
)
def test_ports_that_are_none(port: Any, said: str) -> None:
    """As for URIs."""
    assert wrong(destination={"protocol": "TCP", "port": port}) == said
    assert read(destination={"protocol": "TCP", "port": 1})
    assert read(destination={"protocol": "TCP", "port": 65535})


def test_destinations() -> None:
    """Protocol, method and encoding are of few words."""
    put = read(destination=towards(method="PUT", encoding="JSON")).destination
    assert put == HttpDestination("sandbox.localdomain", 8080, "/lambda_logs", "PUT")
    assert wrong(destination=towards(method="GET")) == "method should be POST or PUT"
    assert wrong(destination=towards(method=1)) == "method should be POST or PUT"
    assert wrong(destination=towards(encoding="XML")) == "encoding should be JSON"
    assert wrong(destination=towards(protocol="http")) == "protocol should be HTTP or TCP"
    assert wrong(destination=towards(protocol=None)) == "protocol is not provided"
    assert wrong(destination=None) == "destination is not provided"
    assert wrong(destination="HTTP") == "destination should be an object"


def test_everything_at_once() -> None:
    """In the order and manner of the one text of AWS's that is recorded."""
    destination = towards(URI="http://sandbox.localdomain")
    assert wrong(types=[], destination=destination) == "URI port is not provided; types should not be empty"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"invalid": json}'])
def test_no_json(body: bytes) -> None:
    """What cannot be read is refused as such."""
    with pytest.raises(Invalid, match=r"^failed to parse JSON: "):
        parse(Api.TELEMETRY, body)


@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"5"])
def test_no_object(body: bytes) -> None:
    """What is no object has no members."""
    with pytest.raises(Invalid, match=r"^the body should be a JSON object$"):
        parse(Api.LOGS, body)


TEXT = st.text("a1:/[]@#?.\r\n ", max_size=8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(st.sampled_from(["schemaVersion", "types", "destination", "buffering"]), JSON),
    st.dictionaries(st.sampled_from(["protocol", "URI", "port", "method", "encoding"]), JSON),
    st.dictionaries(st.sampled_from(list(LIMITS)), JSON),
)
def test_any_document(
    document: dict[str, Any], destination: dict[str, Any], buffering: dict[str, Any]
) -> None:
    """Whatever is sent, the answer is a subscription or a text."""
    for whole in (document, document | {"destination": HTTP | destination}, GOOD | {"buffering": buffering}):
        try:
            parse(Api.TELEMETRY, json.dumps(whole).encode())
        except Invalid as refused:
            assert str(refused)  # noqa: PT017
