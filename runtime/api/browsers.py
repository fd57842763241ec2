"""Keeping web pages out: a page in a developer's browser must not use a Berth that trusts whoever reaches it.

Two ways lead a page here. It can send requests across origins; browsers mark those, and every request that may change
something, with `Origin`, which SDKs never send. Or its own name can be made to resolve to this machine (DNS rebinding):
then it may read what it asks for, and only `Host` tells. So a connection on the loopback interface is answered only
under an address or a name that public DNS cannot define.
"""

import ipaddress
from asyncio import BaseTransport
from collections.abc import Mapping
from functools import lru_cache

from runtime.errors import LambdaError


def refuse_browsers(headers: Mapping[str, str], transport: BaseTransport | None) -> None:
    """Raise AccessDeniedException for what a web page has sent."""
    if "Origin" in headers:
        raise _refusal("Berth does not answer web pages: the request has an Origin header.")
    name = headers.get("Host", "")
    if not is_local_name(name) and _is_on_loopback(transport):
        raise _refusal(
            f"On the loopback interface Berth does not answer to the name {name!r}, which a web page could have made "
            "up: use localhost or 127.0.0.1."
        )


@lru_cache(maxsize=256)
def is_local_name(header: str) -> bool:
    """Whether a `Host` header holds an address, or a name that public DNS cannot define."""
    if header.startswith("["):
        return True
    name = header.rpartition(":")[0] if ":" in header else header
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "." not in name or name.endswith((".localhost", ".internal"))
    return True


def _is_on_loopback(transport: BaseTransport | None) -> bool:
    own = transport.get_extra_info("sockname") if transport else None
    return own is not None and ipaddress.ip_address(own[0]).is_loopback


def _refusal(text: str) -> LambdaError:
    return LambdaError("AccessDeniedException", text)
