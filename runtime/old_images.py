"""Images that newer ones have replaced, and what builds have left: found by their labels and removed.

What a sandbox still runs on stays: the engine refuses. Other people's images carry our labels too, if they are built on
ours: only our own names are taken away. Which images are current is the caller's to say.
"""

import time
from collections import defaultdict
from collections.abc import Collection
from typing import Any

from runtime.spawners.engine import Engine

REPOSITORY = "berth"
LABEL = "berth.image"
STAGE = "berth.stage"
SPARED = 24 * 3600
"""Seconds that an older image is kept: another version of Berth, or another checkout, may still start sandboxes of it."""

_UNTAGGED = "<none>:<none>"


class OldImages:
    """Those of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def replaced(self, identifier: str, current: str, *, inherited: bool) -> None:
        """Remove what a new image has replaced. `inherited`: others' images are built on such, and have its label."""
        oldest = time.time() - SPARED
        for image in await self._engine.images(f"{LABEL}={identifier}"):
            if int(image["Created"]) > oldest:
                continue
            ours = _own_names(image, identifier)
            if not ours and (_names(image) or inherited):
                continue
            if current not in _plain(_names(image)):
                for name in ours or [image["Id"]]:
                    await self._engine.remove_image(name)
        for stage in _older(await self._engine.images(f"{STAGE}={identifier}")):
            await self._engine.remove_image(stage)

    async def all(self, current: Collection[str]) -> list[str]:
        """Remove every image of ours but the current ones, however young, and what builds have left; their names.

        A stage of each image stays, the newest: it is the builder's cache.
        """
        outdated = [
            name
            for image in await self._engine.images(LABEL)
            for name in _own_names(image, image["Labels"][LABEL])
            if not _plain([name]) & set(current)
        ]
        stages: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
        for image in await self._engine.images(STAGE):
            stages[image["Labels"][STAGE]].append(image)
        leftovers = [stage for images in stages.values() for stage in _older(images)]
        return [name for name in (*outdated, *leftovers) if await self._removed(name)]

    async def _removed(self, name: str) -> bool:
        await self._engine.remove_image(name)
        return await self._engine.image(name) is None


def _names(image: dict[str, Any]) -> list[str]:
    return [tag for tag in image.get("RepoTags") or () if tag != _UNTAGGED]


def _own_names(image: dict[str, Any], identifier: str) -> list[str]:
    return [
        tag
        for tag in _names(image)
        if tag.removeprefix("localhost/").startswith(f"{REPOSITORY}/{identifier}:")
    ]


def _plain(tags: list[str]) -> set[str]:
    """Podman puts localhost/ before them."""
    return {tag.removeprefix("localhost/") for tag in tags}


def _older(stages: list[dict[str, Any]]) -> list[str]:
    """All but the newest: it stays as the builder's cache, with which a new agent is an image within two seconds."""
    return [str(stage["Id"]) for stage in sorted(stages, key=lambda each: int(each["Created"]))[:-1]]
