"""The network that sandboxes of one control plane share, and how they reach it from there.

Four situations, told apart by asking: the control plane runs on the engine's machine (they meet at the network's
gateway), in a container of the engine (it joins the network), beside an engine in a virtual machine (Docker Desktop
forwards a name), or elsewhere (the address on the way to the engine has to do).
"""

import asyncio
import logging
import re
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime.spawners.base import SpawnerError
from runtime.spawners.container import OWNER, PROCESS
from runtime.spawners.engine import Engine, EngineError
from runtime.spawners.owners import gone

log = logging.getLogger(__name__)

ICC = "com.docker.network.bridge.enable_icc"
MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
DESKTOP_NAME = "host.docker.internal"
ANYWHERE = "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Meeting:
    """Where sandboxes and the control plane meet."""

    link_host: str
    dial_host: str
    extra_hosts: tuple[str, ...] = ()


class Network:
    """The owner's bridge network; this control plane's own container joins it where there is one."""

    def __init__(self, engine: Engine, owner: str, process: str = "") -> None:
        self.name = f"berth-{owner}"
        self._engine = engine
        self._labels = {OWNER: owner, PROCESS: process}
        self._own: str | None = None

    async def prepare(self, dial_host: str | None) -> Meeting:
        """Create or find the network, and find the way from sandboxes to here. `dial_host`: someone knows it."""
        self._own = await own_container(self._engine)
        # Sandboxes are cut off from each other by cutting all containers off; one that is the control plane must
        # be reachable, and engines know no exception.
        if self._own:
            log.info(
                "control plane in a container: sandboxes share network %s and can reach each other", self.name
            )
        network = await self._found_or_created("true" if self._own else "false")
        if self._own:
            address = await self._join(network, self._own)
            return Meeting(address, dial_host or address)
        # In a thread: names have to be resolved where the setting or the engine's address is one.
        return await asyncio.to_thread(self._meeting, await self._gateway(network), dial_host)

    async def close(self) -> None:
        """Remove the network. One that sandboxes still use stays, and is found again next time."""
        try:
            for network in await self._existing():
                if self._own:
                    await self._engine.disconnect_network(network["Id"], self._own)
                await self._engine.remove_network(network["Id"])
        except EngineError as error:
            log.warning("network %s stays behind: %s", self.name, error)

    async def _existing(self) -> list[dict[str, Any]]:
        found = await self._engine.networks(f"{OWNER}={self._labels[OWNER]}")
        return [network for network in found if network["Name"] == self.name]

    async def _found_or_created(self, icc: str) -> str:
        options = {ICC: icc, MASQUERADE: "true"}
        for network in await self._existing():
            is_left = gone(network["Labels"].get(PROCESS, ""))
            if is_left:
                await self._clear(network["Id"])
            fits = network.get("Options", {}).get(ICC) == icc and not is_left
            if fits or not await self._removed(network["Id"]):
                return str(network["Id"])
        try:
            return await self._engine.create_network(self.name, options, self._labels)
        except EngineError as error:
            if "address pool" not in str(error):
                raise
            raise SpawnerError(
                f"the engine has no addresses left for network {self.name}: `docker network prune` removes unused "
                "networks"
            ) from error

    async def _clear(self, network: str) -> None:
        """Cut off what an earlier process of the owner left there.

        The network bears that one's mark, by which others see that it is abandoned; marks cannot be changed.
        """
        for container in (await self._engine.inspect_network(network)).get("Containers") or ():
            try:
                await self._engine.disconnect_network(network, container)
            except EngineError as error:  # it is ending, with the link that it had
                log.info("container %s of network %s: %s", container, self.name, error)

    async def _removed(self, network: str) -> bool:
        """Whether a network that was made for another situation, or by another process, could be removed."""
        try:
            await self._engine.remove_network(network)
        except EngineError as error:
            log.warning("network %s is in use and stays as it is: %s", self.name, error)
            return False
        return True

    async def _join(self, network: str, own: str) -> str:
        try:
            await self._engine.connect_network(network, own)
        except EngineError as error:
            if "already exists" not in str(error) and "already connected" not in str(error):
                raise
        networks = (await self._engine.inspect(own))["NetworkSettings"]["Networks"]
        return str(networks[self.name]["IPAddress"])

    async def _gateway(self, network: str) -> str:
        document = await self._engine.inspect_network(network)
        for configured in document["IPAM"]["Config"] or ():
            gateway = str(configured.get("Gateway", "")).partition("/")[0]
            if gateway and ":" not in gateway:
                return gateway
        raise SpawnerError(f"network {self.name} has no IPv4 gateway")

    def _meeting(self, gateway: str, dial_host: str | None) -> Meeting:
        """Blocking."""
        if dial_host:
            return Meeting(dial_host if bindable(dial_host) else ANYWHERE, dial_host)
        if bindable(gateway):
            return Meeting(gateway, gateway)
        if self._engine.facts.product == "Docker Desktop":
            # Its forwarder reaches what listens on loopback.
            return Meeting("127.0.0.1", DESKTOP_NAME, (f"{DESKTOP_NAME}:host-gateway",))
        address = address_towards(urlsplit(self._engine.endpoint.url).hostname)
        return Meeting(address, address)


async def own_container(engine: Engine) -> str | None:
    """The id of the container of this engine that the control plane runs in, if its network is its own."""
    for identity in identities(Path("/proc/self"), socket.gethostname()):
        try:
            document = await engine.inspect(identity)
        except EngineError as error:
            if error.status != 404:
                raise
            continue
        if str(document["Id"]).startswith(identity):  # and not a container that bears it as a name
            return str(document["Id"]) if document["HostConfig"]["NetworkMode"] != "host" else None
    return None


def identities(process: Path, hostname: str) -> list[str]:
    """What the surrounding container's id may be: as the kernel shows it, and the default host name."""
    mounts = re.findall(r"/([0-9a-f]{64})/\S*hostname /etc/hostname ", _text(process / "mountinfo"))
    groups = re.findall(r"[0-9a-f]{64}", _text(process / "cgroup"))
    default = [hostname] if re.fullmatch(r"[0-9a-f]{12}", hostname) else []
    return list(dict.fromkeys([*mounts, *groups, *default]))


def _text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def bindable(host: str) -> bool:
    """Whether this machine can listen at an address."""
    with socket.socket() as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return False
    return True


def address_towards(host: str | None) -> str:
    """The address of this machine on its way to another; the documentation's address stands for the world at large."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host or "192.0.2.1", 9))
        except OSError as error:
            raise SpawnerError(
                "it cannot be found out how sandboxes reach this machine: set link_host to its address"
            ) from error
        return str(probe.getsockname()[0])
