"""Proxies that the environment names: what image builds are told of them, and what lets clients find Berth all the same.

Programs agree on the variables, not on their case. Knows nothing of who asks.
"""

import os
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

_NAMES = ("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy")


def for_builds(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The variables for the steps of a build. A proxy on this machine's loopback is out of a container's reach."""
    return {
        name: value
        for name, value in environ.items()
        if name.lower() in _NAMES and value and (name.lower() == "no_proxy" or not _is_loopback(value))
    }


def exceptions_for(host: str) -> str | None:
    """What `no_proxy` has to be for clients here to reach this host directly; None where they do already."""
    proxies = getproxies_environment()
    if not ("http" in proxies or "all" in proxies) or proxy_bypass(host, proxies):
        return None
    return ",".join(filter(None, (proxies.get("no"), host)))


def _is_loopback(proxy: str) -> bool:
    host = urlsplit(proxy if "//" in proxy else f"//{proxy}").hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
