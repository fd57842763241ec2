"""Bundles: the files that a function version brings, ready to be shown to its sandboxes.

Trees are made on demand, off the event loop, once: whoever asks for one that is being made waits for the same work, and
that work goes on when who asked for it first leaves. Knows nothing of functions, sandboxes or HTTP.

Code that is a directory of the host is that directory, once it is watched. Where it cannot be shown as it is (among
other layers, or where files are copied), what it holds at the time is copied, for one sandbox.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from runtime.directories import Directories, NoDirectory
from runtime.model import Code
from runtime.store.blobs import BlobStore
from runtime.trees import Trees
from runtime.zip_entries import BadZip
from runtime.zips import ZipFacts, inspect_zip

T = TypeVar("T")

__all__ = ["BadZip", "Bundles", "ZipFacts", "inspect_zip"]


def is_composed(layers: Sequence[Code]) -> bool:
    """Whether a directory of the host is one of several layers, so that none of it can be shown as it is."""
    return len(layers) > 1 and any(code.directory is not None for code in layers)


class Bundles:
    """Trees by content. Whoever gets one may read it and mount it read-only, and must not follow links in it."""

    def __init__(self, data_dir: Path, blobs: BlobStore, directories: Directories | None = None) -> None:
        self._trees = Trees(data_dir)
        self._directories = directories
        self._blobs = blobs
        self._making: dict[Path, asyncio.Task[Path]] = {}
        self._workers = asyncio.Semaphore(os.cpu_count() or 1)
        """Unpacking is work for processors; more at once would only slow each other and the event loop."""
        self._placing: dict[str, asyncio.Task[Any]] = {}
        self._counts: dict[Path, int] = {}

    async def task_root(self, code: Code) -> Path:
        """The tree of one zip, or the directory of the host that it stands for. Raises `NoDirectory`."""
        if code.directory is not None:
            return await self._live(code.directory)
        return await self._once(self._trees.code(code.digest), lambda: self._unpack(code.digest))

    async def opt(self, layers: Sequence[Code]) -> Path:
        """The trees of several zips merged in their order, later ones winning; an empty tree for none.

        Not with directories among several: see `composed`.
        """
        if len(layers) == 1:
            return await self.task_root(layers[0])
        digests = [code.digest for code in layers]
        return await self._once(self._trees.merged(digests), lambda: self._merge(layers))

    async def ready(self, code: Code, layers: Sequence[Code]) -> None:
        """Have at hand what does not depend on what directories hold later on."""
        await self.task_root(code)
        if is_composed(layers):
            for layer in layers:
                await self.task_root(layer)
        else:
            await self.opt(layers)

    @asynccontextmanager
    async def composed(self, layers: Sequence[Code]) -> AsyncIterator[Path]:
        """As `opt`, with directories as they are now; gone when the context ends."""
        if not is_composed(layers):
            yield await self.opt(layers)
            return
        trees = [await self.task_root(code) for code in layers]
        made = await self._in_thread(lambda: self._trees.compose(trees))
        try:
            yield made
        finally:
            await asyncio.to_thread(self._trees.discard, made)

    async def archive(self, tree: Path) -> Path:
        """A tree from here as an uncompressed tar with root as owner."""
        return await self._once(
            self._trees.tar(tree), lambda: self._in_thread(lambda: self._trees.archive(tree))
        )

    @asynccontextmanager
    async def archived(self, tree: Path) -> AsyncIterator[Path]:
        """The same, of a directory of the host as it is now too; for as long as the context lasts."""
        if self._trees.has(tree):
            yield await self.archive(tree)
            return
        made = await self._in_thread(lambda: self._trees.archive_aside(tree))
        try:
            yield made
        finally:
            await asyncio.to_thread(self._trees.discard, made)

    async def make_place(self, sandbox_id: str) -> tuple[Path, Path]:
        """Empty directories that a sandbox shows at its task root and at `/opt`, to be filled later."""
        return await self._for_place(sandbox_id, lambda: self._trees.make_place(sandbox_id))

    async def fill(self, sandbox_id: str, shown: Mapping[Path, Path]) -> None:
        """Let such directories show trees: place → tree."""

        def work() -> None:
            for place, tree in shown.items():
                self._trees.fill(tree, place)

        await self._for_place(sandbox_id, work)

    async def remove_place(self, sandbox_id: str) -> None:
        await self._for_place(sandbox_id, lambda: self._trees.remove_place(sandbox_id))

    def has(self, tree: Path) -> bool:
        """Whether a tree is from here, and so never changes."""
        return self._trees.has(tree)

    async def count(self, tree: Path) -> int:
        """How many files a tree holds; counted once."""
        if tree not in self._counts:
            self._counts[tree] = await asyncio.to_thread(self._trees.count, tree)
        return self._counts[tree]

    async def close(self) -> None:
        """Wait for what is being made."""
        await asyncio.gather(*self._making.values(), *self._placing.values(), return_exceptions=True)

    async def _for_place(self, sandbox_id: str, work: Callable[[], T]) -> T:
        """What is done for one sandbox, one thing after the other: a thread goes on when its caller is cancelled."""
        before = self._placing.get(sandbox_id)

        async def in_turn() -> T:
            if before is not None:
                await asyncio.wait([before])
            return await asyncio.to_thread(work)

        task = asyncio.create_task(in_turn())
        self._placing[sandbox_id] = task
        task.add_done_callback(lambda done: self._placed(sandbox_id, done))
        return await asyncio.shield(task)

    def _placed(self, sandbox_id: str, done: asyncio.Task[Any]) -> None:
        if self._placing.get(sandbox_id) is done:
            del self._placing[sandbox_id]
        if not done.cancelled():
            done.exception()  # seen, even if who asked has left

    async def _live(self, directory: str) -> Path:
        if self._directories is None:
            raise NoDirectory(f"{directory}: directories of the host are not used here")
        await self._directories.watch(directory)
        return Path(directory)

    async def _unpack(self, digest: str) -> Path:
        return await self._in_thread(lambda: self._trees.unpack(digest, self._blobs.path(digest)))

    async def _merge(self, layers: Sequence[Code]) -> Path:
        for code in layers:
            await self.task_root(code)
        return await self._in_thread(lambda: self._trees.merge([code.digest for code in layers]))

    async def _in_thread(self, work: Callable[[], Path]) -> Path:
        async with self._workers:
            return await asyncio.to_thread(work)

    async def _once(self, final: Path, make: Callable[[], Coroutine[None, None, Path]]) -> Path:
        task = self._join(final, make)
        return await asyncio.shield(task) if task else final

    def _join(
        self, final: Path, make: Callable[[], Coroutine[None, None, Path]]
    ) -> asyncio.Task[Path] | None:
        """The work that makes something, begun now if nobody has; None if the thing is there."""
        if final.exists():
            return None
        task = self._making.get(final)
        if task is None:
            task = self._making[final] = asyncio.create_task(make())
            task.add_done_callback(lambda done: self._made(final, done))
        return task

    def _made(self, final: Path, task: asyncio.Task[Path]) -> None:
        del self._making[final]
        if not task.cancelled():
            task.exception()  # seen, even if everybody who asked has left
