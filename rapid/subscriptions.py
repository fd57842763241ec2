"""What an extension asks for when it subscribes to telemetry: read, checked, with defaults filled in. Pure.

The Telemetry API and the older Logs API take the same document; they differ in their versions and in the names of
their errors. All that is wrong with a document is told at once, separated as AWS separates it. Of AWS's own texts two
are recorded (`URI port is not provided`, `types should not be empty`); the others are ours in the same manner.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from urllib.parse import SplitResult

TYPES = ("platform", "function", "extension")
HOSTS = ("sandbox.localdomain", "sandbox")
"""Names of the sandbox inside itself: its loopback interface."""
RESERVED_PORT = 9001
METHODS = ("POST", "PUT")

_PRINTABLE = re.compile(r"[!-~]+")


class Api(Enum):
    """One of the two; the value is the name by which an extension knows it."""

    TELEMETRY = "Telemetry"
    LOGS = "Logs"


VERSIONS: Mapping[Api, tuple[str, ...]] = {
    Api.TELEMETRY: ("2022-07-01", "2022-12-13", "2025-01-29"),
    Api.LOGS: ("2020-08-15", "2021-03-18"),
}
WITH_RUNTIME_DONE = "2021-03-18"
"""The version of the Logs API that tells when the runtime is done."""


class Invalid(Exception):
    """The document is not one, or asks for what cannot be; the text says all that is wrong with it."""


@dataclass(frozen=True, slots=True)
class HttpDestination:
    """Each batch is a request of its own."""

    host: str
    port: int
    path: str
    method: str


@dataclass(frozen=True, slots=True)
class TcpDestination:
    """All batches go through one connection, as lines."""

    port: int


Destination = HttpDestination | TcpDestination


@dataclass(frozen=True, slots=True)
class Buffering:
    """When a batch is handed out: so many events, so many bytes, or `timeout` seconds after its first event."""

    max_items: int = 10_000
    max_bytes: int = 262_144
    timeout: float = 1.0


LIMITS = {"maxItems": (1_000, 10_000), "maxBytes": (262_144, 1_048_576), "timeoutMs": (25, 30_000)}
"""Members of `buffering`: their least and greatest values."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What an extension gets to hear, and where."""

    api: Api
    version: str
    types: tuple[str, ...]
    """In the order in which they were asked for, each once."""
    destination: Destination
    buffering: Buffering


def parse(api: Api, body: bytes) -> Subscription:
    """The subscription that a request's body asks for. Raises `Invalid`."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Invalid(f"failed to parse JSON: {error}") from error
    if not isinstance(document, dict):
        raise Invalid("the body should be a JSON object")
    reader = _Reader(document)
    version = reader.version(api)
    destination = reader.destination()
    types = reader.types()
    buffering = reader.buffering()
    if reader.wrong or destination is None:
        raise Invalid("; ".join(reader.wrong))
    return Subscription(api, version, types, destination, buffering)


class _Reader:
    """Takes a document to pieces and collects what is wrong with them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.wrong: list[str] = []

    def version(self, api: Api) -> str:
        version = self._document.get("schemaVersion")
        if version is None and api is Api.LOGS:
            return VERSIONS[api][0]
        return self._one_of("schemaVersion", version, VERSIONS[api])

    def types(self) -> tuple[str, ...]:
        types = self._document.get("types")
        if not types and (types is None or isinstance(types, list)):
            self.wrong.append("types should not be empty")
        elif not isinstance(types, list) or not all(
            isinstance(each, str) and each in TYPES for each in types
        ):
            self.wrong.append(f"types should be a list of {_alternatives(TYPES)}")
        else:
            return tuple(dict.fromkeys(types))
        return ()

    def destination(self) -> Destination | None:
        """None where something is wrong with it."""
        given = self._document.get("destination")
        if not isinstance(given, dict):
            self.wrong.append(
                "destination is not provided" if given is None else "destination should be an object"
            )
            return None
        before = len(self.wrong)
        protocol = self._one_of("protocol", given.get("protocol"), ("HTTP", "TCP"))
        if given.get("encoding") is not None:
            self._one_of("encoding", given["encoding"], ("JSON",))
        destination: Destination | None = None
        if protocol == "HTTP":
            destination = self._http(given)
        elif protocol == "TCP":
            destination = TcpDestination(self._port("port", given.get("port")))
        return None if len(self.wrong) > before else destination

    def _http(self, given: Mapping[str, Any]) -> HttpDestination:
        method = given.get("method")
        method = METHODS[0] if method is None else self._one_of("method", method, METHODS)
        uri = given.get("URI")
        if not isinstance(uri, str) or not uri:
            self.wrong.append("URI is not provided" if not uri else "URI should be a string")
            return HttpDestination("", 0, "", method)
        return self._uri(uri, method)

    def _uri(self, text: str, method: str) -> HttpDestination:
        try:
            if not _PRINTABLE.fullmatch(text):  # it becomes a line of a request
                raise ValueError(text)
            from urllib.parse import urlsplit  # noqa: PLC0415  only where somebody subscribes

            uri = urlsplit(text)
            port = uri.port
        except ValueError:  # a port that is no number or too great a one, a host in a broken bracket
            self.wrong.append("URI is not valid")
            return HttpDestination("", 0, "", method)
        if uri.scheme != "http":
            self.wrong.append("URI scheme should be http")
        if uri.hostname not in HOSTS:
            self.wrong.append(f"URI host should be {HOSTS[0]}")
        return HttpDestination(uri.hostname or "", self._port("URI port", port), _target(uri), method)

    def _port(self, name: str, port: Any) -> int:
        if port is None:
            self.wrong.append(f"{name} is not provided")
        elif not _is_integer(port) or not 0 < port < 65536:
            self.wrong.append(f"{name} should be between 1 and 65535")
        elif port == RESERVED_PORT:
            self.wrong.append(f"{name} {RESERVED_PORT} is reserved")
        else:
            return int(port)
        return 0

    def buffering(self) -> Buffering:
        given = self._document.get("buffering")
        if given is not None and not isinstance(given, dict):
            self.wrong.append("buffering should be an object")
        if not isinstance(given, dict):
            return Buffering()
        default = Buffering()
        return Buffering(
            max_items=self._limited("maxItems", given.get("maxItems"), default.max_items),
            max_bytes=self._limited("maxBytes", given.get("maxBytes"), default.max_bytes),
            timeout=self._limited("timeoutMs", given.get("timeoutMs"), int(default.timeout * 1000)) / 1000,
        )

    def _limited(self, name: str, value: Any, default: int) -> int:
        least, greatest = LIMITS[name]
        if value is None:
            return default
        if not _is_integer(value) or not least <= value <= greatest:
            self.wrong.append(f"{name} should be between {least} and {greatest}")
            return default
        return int(value)

    def _one_of(self, name: str, value: Any, allowed: tuple[str, ...]) -> str:
        if isinstance(value, str) and value in allowed:
            return value
        missing = value is None
        self.wrong.append(
            f"{name} is not provided" if missing else f"{name} should be {_alternatives(allowed)}"
        )
        return ""


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _alternatives(words: Iterable[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _target(uri: "SplitResult") -> str:
    """What a request line names; a fragment is nobody's business but the sender's."""
    return (uri.path or "/") + (f"?{uri.query}" if uri.query else "")
