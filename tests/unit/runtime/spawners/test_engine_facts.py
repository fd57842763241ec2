import pytest

from runtime.spawners.engine_facts import OLDEST, EngineFacts, facts_of


@pytest.mark.parametrize(
    ("components", "system", "product"),
    [
        ([{"Name": "Engine"}], "Debian GNU/Linux 12 (bookworm)", "Docker Engine"),
        ([{"Name": "Engine"}], "Docker Desktop", "Docker Desktop"),
        ([{"Name": "Podman Engine"}], "fedora", "Podman"),
        (None, "", "Docker Engine"),
    ],
)
def test_products_are_told_apart(components: list[dict[str, str]] | None, system: str, product: str) -> None:
    """They differ in how sandboxes reach the control plane."""
    facts = facts_of({"Version": "1.2", "Components": components}, {"OperatingSystem": system})
    assert facts.title == f"{product} 1.2"


def test_limits_that_the_kernel_lacks_are_named() -> None:
    """What the engine's answer does not mention is no lack: Podman leaves members out."""
    facts = facts_of({}, {"MemoryLimit": False, "PidsLimit": True, "SecurityOptions": ["name=rootless"]})
    assert facts.lacks == ("memory",)
    assert facts.rootless


@pytest.mark.parametrize(
    ("version", "old"),
    [("20.10.24+dfsg1", False), ("19.03.15", True), ("28.5.2", False), ("20.10-dev", False), ("", True)],
)
def test_releases_are_compared_by_their_numbers(version: str, old: bool) -> None:
    """Distributions decorate versions."""
    facts = EngineFacts(version=version, product="Docker Engine", rootless=False)
    assert (facts.release < OLDEST) is old
