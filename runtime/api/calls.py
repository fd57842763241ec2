"""What an operation is given: the caller's request and the parts of the control plane that it may use.

An operation is a coroutine function from these two to a mapping of the model's output members.
A module of operations offers them as a table `OPERATIONS` by name; `runtime.api.server` joins the tables.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.api.code_links import CodeLinks
from runtime.api.image_uris import Images
from runtime.api.live_code import LiveCode
from runtime.api.workshop import Workshop
from runtime.core.limits import Limits
from runtime.core.provisioning import Progress
from runtime.errors import LambdaError, invalid_parameter
from runtime.model import ProvisionedConcurrency, Scope
from runtime.objects import Objects
from runtime.store import Store


class Provisioning(Protocol):
    """What operations need of `runtime.provisioning.Provisioner`."""

    def changed(self, scope: Scope, function: str) -> None: ...
    def progress(self, record: ProvisionedConcurrency) -> Progress: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What operations work with."""

    store: Store
    workshop: Workshop
    links: CodeLinks
    objects: Objects
    """Where packages in S3 are read."""
    live: LiveCode
    """Which directories of the host may be code."""
    images: Images
    """Where container images are."""
    retired: Callable[[Scope, str], None]
    """Told of a function whose earlier environments should drain."""
    limits: Callable[[Scope], Limits]
    """What an account has in a region, as of now."""
    provisioning: Provisioning
    now: Callable[[], float]
    """Unix time in seconds."""
    lenient_routing: bool
    """The setting of that name."""
    deciding: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by operations whose rules span records, from the check until the write is in the catalog."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, validated."""

    scope: Scope
    params: Mapping[str, Any]
    base_url: str
    """Where the caller reaches this server, without a slash at the end."""


Operation = Callable[[Services, Call], Awaitable[Mapping[str, Any]]]


def not_implemented(what: str) -> LambdaError:
    return invalid_parameter(f"Berth does not implement {what} yet.")
