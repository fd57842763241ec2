"""What is still needed of blobs and trees, told from the records alone.

A deleted layer version keeps its content for as long as a function version refers to it.
"""

import asyncio
from threading import Event

from runtime.model import Code, ImageCode
from runtime.store.blobs import BlobStore
from runtime.store.catalog import Catalog
from runtime.trees import Trees


def live_digests(catalog: Catalog) -> frozenset[str]:
    """Of every zip that a record refers to."""
    functions = (
        code.digest
        for record in catalog.all_functions()
        for code in (record.code, *(layer.code for layer in record.config.layers))
        if isinstance(code, Code)
    )
    return frozenset(functions) | {record.code.digest for record in catalog.all_layer_versions()}


def live_images(catalog: Catalog) -> frozenset[str]:
    """The engine's identifiers of the images that functions pin."""
    codes = (record.code for record in catalog.all_functions())
    return frozenset(code.image for code in codes if isinstance(code, ImageCode))


def live_layer_lists(catalog: Catalog) -> frozenset[tuple[str, ...]]:
    """Of digests, in order, as functions combine them."""
    return frozenset(
        tuple(layer.code.digest for layer in record.config.layers) for record in catalog.all_functions()
    )


def collect(catalog: Catalog, blobs: BlobStore, trees: Trees) -> None:
    """Remove what nothing refers to. Safe only while nobody uses blobs or trees: when a store opens."""
    digests = live_digests(catalog)
    blobs.sweep(digests)
    trees.sweep(digests, live_layer_lists(catalog))


class TrashCollection:
    """Empties the trees' trash in the background: after a reboot of the machine it may hold millions of files."""

    def __init__(self, trees: Trees) -> None:
        self._stopped = Event()
        self._task = asyncio.create_task(asyncio.to_thread(trees.empty_trash, self._stopped.is_set))

    async def stop(self) -> None:
        """Leave the rest for the next time."""
        self._stopped.set()
        await self._task
