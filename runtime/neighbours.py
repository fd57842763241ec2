"""Where the other AWS services are, for Berth and for functions: one address for all, or one for each. Pure.

Written as a URL, pairs of a service's name and a URL, or both: `http://localhost:4566,s3=http://localhost:9000`.
What serves there is not known here: an emulator, a database that speaks DynamoDB's protocol, AWS itself.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

VARIABLE = "AWS_ENDPOINT_URL"
"""What SDKs read; a service's own one has its name at the end."""
LAMBDA_VARIABLE = f"{VARIABLE}_LAMBDA"
STS_VARIABLE = f"{VARIABLE}_STS"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_DEFAULT_PORTS = {"http": 80, "https": 443}

IDS = {
    "apigateway": "API_GATEWAY",
    "cloudwatch": "CLOUDWATCH",
    "cognito-idp": "COGNITO_IDENTITY_PROVIDER",
    "events": "EVENTBRIDGE",
    "logs": "CLOUDWATCH_LOGS",
    "secretsmanager": "SECRETS_MANAGER",
    "stepfunctions": "SFN",
}
"""Services whose variables are not spelled like the names of their clients."""


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Addresses of other services. `services` are pairs of a client's name (`s3`, `events`) and a URL."""

    general: str | None = None
    services: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        """As `parse` reads it."""
        pairs = [f"{name}={url}" for name, url in self.services]
        return ",".join([self.general, *pairs] if self.general else pairs)

    def of(self, service: str) -> str | None:
        """Where a service is; None: where AWS has it."""
        return dict(self.services).get(service, self.general)

    def urls(self) -> tuple[str, ...]:
        """All addresses."""
        urls = tuple(url for _, url in self.services)
        return (self.general, *urls) if self.general else urls

    def variables(self, function_host: str) -> dict[str, str]:
        """What tells a function's SDK; `function_host` is this machine as functions see it."""
        found = {variable(name): seen_from(function_host, url) for name, url in self.services}
        if self.general:
            found[VARIABLE] = seen_from(function_host, self.general)
        return found


def parse(text: str) -> Endpoints:
    """Raises ValueError."""
    general: str | None = None
    services: dict[str, str] = {}
    for part in text.split(","):
        name, mark, url = part.partition("=")
        if mark and _NAME.fullmatch(name):
            if name in services:
                raise ValueError(f"{name} is named twice")
            services[name] = _checked(url)
        elif general is None:
            general = _checked(part)
        else:
            raise ValueError("two addresses for all services")
    return Endpoints(general, tuple(services.items()))


def _checked(url: str) -> str:
    """A URL without anything that would be a secret or could not be joined with a path."""
    parts = urlsplit(url)
    plain = parts.scheme in _DEFAULT_PORTS and parts.hostname and parts.username is None
    if not plain or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", url):
        raise ValueError(f"{url} is not an address of a service")
    _port(url)
    return url.rstrip("/")


def _port(url: str) -> int:
    """Raises ValueError where a URL's port is none."""
    parts = urlsplit(url)
    return parts.port or _DEFAULT_PORTS[parts.scheme]


def variable(service: str) -> str:
    """The variable that tells SDKs where one service is."""
    return f"{VARIABLE}_{IDS.get(service) or service.upper().replace('-', '_')}"


def leads_to(url: str, host: str, *ports: int) -> bool:
    """Whether a URL names one of these ports of this machine, under `host` or as loopback."""
    name = urlsplit(url).hostname or ""
    return (name == host.lower() or is_loopback(name)) and _port(url) in ports


def seen_from(function_host: str, url: str) -> str:
    """The URL as a function must write it: what is loopback here is another machine's loopback there."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return url
    host = f"[{function_host}]" if ":" in function_host else function_host
    return parts._replace(netloc=f"{host}:{_port(url)}").geturl()


def is_loopback(host: str) -> bool:
    """Whether a name or address means the machine that says it."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def function_variables(endpoints: Endpoints | None, function_host: str, own: str | None) -> Mapping[str, str]:
    """All of a function's variables about endpoints. `own` is where it reaches Berth; None: it does not.

    Berth is STS too, for its credentials mean nothing to AWS's; but where somebody else is to be it, that one knows
    more of it.
    """
    found = {LAMBDA_VARIABLE: own} if own else {}
    if own and (endpoints is None or endpoints.of("sts") is None):
        found[STS_VARIABLE] = own
    return found | (endpoints.variables(function_host) if endpoints else {})
