"""What an engine says about itself, in our words. Pure: the engine's answers come in, an `EngineFacts` goes out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LIMITS = {
    "MemoryLimit": "memory",
    "SwapLimit": "swap",
    "CPUShares": "processor weight",
    "PidsLimit": "processes",
}
"""Members of the engine's `info` that are false where the kernel lacks something → what is not limited then."""

OLDEST = (20, 10)
"""First release with `host-gateway` and with all that `container` asks for."""


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine says about itself."""

    version: str
    product: str
    """`Docker Engine`, `Docker Desktop`, `Podman`."""
    rootless: bool
    machine: str = ""
    """Its processor, e.g. `amd64`."""
    lacks: tuple[str, ...] = ()
    """Limits that this engine cannot enforce."""
    memory: int = 0
    """MB of its machine; 0 where it does not say."""

    @property
    def title(self) -> str:
        return f"{self.product} {self.version}"

    @property
    def release(self) -> tuple[int, ...]:
        """The version's leading numbers, for comparison."""
        return tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])


def facts_of(version: Mapping[str, Any], info: Mapping[str, Any]) -> EngineFacts:
    system = str(info.get("OperatingSystem", ""))
    components = {component.get("Name") for component in version.get("Components") or []}
    product = "Docker Desktop" if system == "Docker Desktop" else "Docker Engine"
    return EngineFacts(
        version=str(version.get("Version", "")),
        product="Podman" if "Podman Engine" in components else product,
        rootless="rootless" in " ".join(info.get("SecurityOptions") or []),
        machine=str(version.get("Arch", "")),
        lacks=tuple(limit for member, limit in LIMITS.items() if info.get(member) is False),
        memory=int(info.get("MemTotal") or 0) >> 20,
    )
