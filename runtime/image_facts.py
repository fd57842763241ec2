"""What an engine tells of a container image, as far as functions are made of it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from runtime.model import ImageCode

_PROCESSORS = {"amd64": "x86_64", "arm64": "arm64"}
"""Architectures as images name them → as Lambda does."""
_PREFIX = "sha256:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that the engine holds."""

    identifier: str
    """The engine's: `sha256:…`."""
    digests: tuple[str, ...] = ()
    """`repository@sha256:…` for each registry that it came from or went to."""
    system: str
    """`linux`, or another."""
    architecture: str
    """As Lambda names it; one that Lambda has not, as the image does."""
    size: int
    """Bytes, uncompressed, of all layers."""
    entry_point: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    working_directory: str = ""

    def pinned(self, uri: str) -> ImageCode:
        """What a function's record holds of it that asked for `uri`."""
        repository = ImageCode(uri, "", "").resolved_uri.partition("@")[0]
        own = [each for each in self.digests if each.partition("@")[0] == repository]
        known = (*own, *self.digests, f"@{self.identifier}")
        return ImageCode(uri, known[0].partition(f"@{_PREFIX}")[2], self.identifier)


@dataclass(frozen=True, slots=True)
class Serving:
    """The image that serves a runtime."""

    reference: str
    foreign: Image | None = None
    """What is known of it, where it is not one of Berth's and so has no agent."""
    stand_in: str | None = None
    """The runtime whose image it really is, where that is another's."""


def read_image(document: Mapping[str, Any]) -> Image:
    """The engine's description of an image; members that it leaves out are empty."""
    config = document.get("Config") or {}
    variables = (entry.partition("=") for entry in config.get("Env") or ())
    architecture = document.get("Architecture", "")
    return Image(
        identifier=document["Id"],
        digests=tuple(document.get("RepoDigests") or ()),
        system=document.get("Os", ""),
        architecture=_PROCESSORS.get(architecture, architecture),
        size=document.get("Size", 0),
        entry_point=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        environment={name: value for name, _, value in variables},
        working_directory=config.get("WorkingDir") or "",
    )
