"""Bundles: the files that a function version brings, ready to be shown to its sandboxes.

Trees are made on demand, off the event loop, once: whoever asks for one that is being made waits for the same work, and
that work goes on when who asked for it first leaves. Knows nothing of functions, sandboxes or HTTP.
"""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from runtime.model import Code
from runtime.store.blobs import BlobStore
from runtime.trees import Trees
from runtime.zip_entries import BadZip
from runtime.zips import ZipFacts, inspect_zip

T = TypeVar("T")

__all__ = ["BadZip", "Bundles", "ZipFacts", "inspect_zip"]


class Bundles:
    """Trees by content. Whoever gets one may read it and mount it read-only, and must not follow links in it."""

    def __init__(self, data_dir: Path, blobs: BlobStore) -> None:
        self._trees = Trees(data_dir)
        self._blobs = blobs
        self._making: dict[Path, asyncio.Task[Path]] = {}
        self._workers = asyncio.Semaphore(os.cpu_count() or 1)
        """Unpacking is work for processors; more at once would only slow each other and the event loop."""
        self._placing: dict[str, asyncio.Task[Any]] = {}
        self._counts: dict[Path, int] = {}

    async def task_root(self, code: Code) -> Path:
        """The tree of one zip."""
        return await self._once(self._trees.code(code.digest), lambda: self._unpack(code.digest))

    async def opt(self, layers: Sequence[Code]) -> Path:
        """The trees of several zips merged in their order, later ones winning; an empty tree for none."""
        if len(layers) == 1:
            return await self.task_root(layers[0])
        digests = [code.digest for code in layers]
        return await self._once(self._trees.merged(digests), lambda: self._merge(layers))

    async def archive(self, tree: Path) -> Path:
        """A tree from here as an uncompressed tar with root as owner."""
        return await self._once(
            self._trees.tar(tree), lambda: self._in_thread(lambda: self._trees.archive(tree))
        )

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
