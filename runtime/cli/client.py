"""Talking to a running Berth from the command line, with nothing but the standard library.

Finds it (`--url`, `BERTH_URL`, else the data directory's state file) and turns everything that can go wrong on the way
into a line for people. It knows paths and bodies only as what commands hand over.
"""

import argparse
import json
import shlex
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime import instance
from runtime.cli.terminal import CliError
from runtime.settings import Settings, client_url, flags_of, load

TIMEOUT = 30.0
"""Seconds without a sign of life; a followed log has one at least every ten."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """The Berth at one address."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._parts = urlsplit(self.url)
        if (
            self._parts.scheme not in ("http", "https")
            or not self._parts.hostname
            or not _port_fits(self.url)
        ):
            raise CliError(f"{url!r} is not an address of Berth; one looks like http://127.0.0.1:3001")

    def get_json(self, path: str) -> Any:
        """The document at a path; anything but success is raised."""
        answer = self.request("GET", path)
        if answer.status != 200:
            raise CliError(refusal(answer))
        try:
            return json.loads(answer.body)
        except ValueError:
            raise CliError(f"what answers at {self.url} is not Berth") from None

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        patient: bool = False,
    ) -> Answer:
        """One exchange, whatever the status. A patient one waits for its answer without limit."""
        with self._exchange(method, path, body, headers or {}, patient=patient) as response:
            return Answer(response.status, dict(response.getheaders()), response.read())

    def lines(self, path: str) -> Generator[bytes, None, None]:
        """The lines of an answer as they come, empty ones left out."""
        with self._exchange("GET", path, None, {}) as response:
            if response.status != 200:
                raise CliError(refusal(Answer(response.status, dict(response.getheaders()), response.read())))
            while line := response.readline():
                if line.strip():
                    yield line

    @contextmanager
    def _exchange(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], *, patient: bool = False
    ) -> Iterator[HTTPResponse]:
        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        connection = kind(self._parts.hostname or "", self._parts.port, timeout=TIMEOUT)
        try:
            with self._explained():
                connection.connect()
                if patient:
                    connection.sock.settimeout(None)
                connection.request(method, self._parts.path + path, body, dict(headers))
                yield connection.getresponse()
        finally:
            connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise CliError(f"Berth at {self.url} does not answer") from None
        except HTTPException:
            raise CliError(f"Berth at {self.url} stopped in the middle of its answer") from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise CliError(
                f"cannot reach Berth at {self.url}: {reason}; is it running? (berth up --detach)"
            ) from None


def connect(arguments: argparse.Namespace) -> Client:
    """The Berth that a client command means."""
    if url := client_url(arguments.url):
        return Client(url)
    return Client(find(load(flags_of(arguments)).settings.data_dir).url)


def credentials(arguments: argparse.Namespace) -> str:
    """Account and region of `function`, as a signed request carries them; Berth checks no signature."""
    settings = load(flags_of(arguments)).settings
    parts = arguments.function.split(":")
    account, region = settings.account_id, settings.region
    if parts[0] == "arn" and len(parts) > 5:
        account, region = parts[4], parts[3]
    scope = f"{account}/20150331/{region}/lambda/aws4_request"
    return f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=none"


def find(data_dir: Path) -> instance.State:
    """The running Berth of a data directory."""
    if state := instance.running(data_dir):
        return state
    if instance.owner(data_dir) is not None:
        raise CliError(f"the Berth of {data_dir} is still starting; try again in a moment")
    raise CliError(
        f"no Berth is running for {data_dir}; start one with: {command_for(data_dir, 'berth up --detach')}"
    )


def command_for(data_dir: Path, command: str) -> str:
    """A command to copy, for this data directory; only the default one goes without saying."""
    return (
        command if data_dir == Settings().data_dir else f"{command} --data-dir {shlex.quote(str(data_dir))}"
    )


def refusal(answer: Answer) -> str:
    """What an error answer says, as `ResourceNotFoundException: Function not found: …`."""
    try:
        document = json.loads(answer.body)
        text = document.get("message") or document.get("Message")
    except (ValueError, AttributeError):
        text = None
    headers = {name.lower(): value for name, value in answer.headers.items()}
    code = headers.get("x-amzn-errortype", "").partition(":")[0]
    return ": ".join(part for part in (code, text or f"Berth answered with status {answer.status}") if part)


def _port_fits(url: str) -> bool:
    try:
        _ = urlsplit(url).port
    except ValueError:
        return False
    return True
