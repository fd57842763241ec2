"""Runtime images: which Lambda runtimes exist here, and the image of each, built when it is first needed.

Beside them the bundle: an interpreter and `rapid` in one directory that runs in any image (`images/bundle`).

An image is named by its content (`berth/python3.11:<12 hex>`): what goes into it decides its tag, so a changed agent or
Dockerfile is a new image and an unchanged one is never built twice. `berth images build` builds ahead.
It knows nothing of functions or sandboxes.
"""

import asyncio
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import rapid
from rapid.agent import FILES
from runtime.base_image import BaseImages
from runtime.image_archive import write_archive, write_moved
from runtime.image_table import (
    BUNDLE,
    PROCESSORS,
    TRIPLES,
    Runtime,
    UnknownRuntime,
    image_sources,
    public_name,
    read_bundle,
    read_table,
    standalone_row,
)
from runtime.old_images import LABEL, REPOSITORY, OldImages
from runtime.processors import CannotRun, Processors, probe_image
from runtime.proxies import for_builds
from runtime.reassurance import reassuring
from runtime.spawners.engine import Engine, EngineError, StepFailed

__all__ = ["BUNDLE_PLACE", "Runtime", "RuntimeImages", "UnknownRuntime", "image_sources", "read_table"]

Progress = Callable[[str], None]
Files = Mapping[str, tuple[bytes, int]]
"""Path in the build context → content and mode."""

BUNDLE_PLACE = "/var/rapid"
"""Where the bundle lies in its image. It runs anywhere."""
MOST_BUILDS = 4
"""Builds at a time, on a machine with so many processors; two anywhere, for one downloads while the other works."""
STAGE_LINE = re.compile(r"Step \d+/\d+ : FROM ", re.IGNORECASE)
FOREIGN_PROGRAM = "exec format error"
"""What the engine says of a program for another processor."""
DISTRUST = ("CERTIFICATE_VERIFY_FAILED", "SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY")
"""What pip and npm say of a certificate by somebody they do not know."""


@dataclass(frozen=True, slots=True)
class _Recipe:
    """What an image is made of, and its name: read together, so that one never stands for something else."""

    files: Files
    reference: str


@dataclass(slots=True)
class _Build:
    """A build under way, and who wants to hear of it."""

    task: asyncio.Task[None]
    listeners: list[Progress] = field(default_factory=list)


class Beginning:
    """The first stage of a build, which images of one suite have in common: what it holds is let go of at its end."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release: Callable[[], None] | None = release
        self._stages = 0

    def hear(self, line: str) -> None:
        """A line that the builder says: with the second stage the first is made."""
        self._stages += bool(STAGE_LINE.match(line))
        if self._stages > 1:
            self.end()

    def end(self) -> None:
        """It is over, one way or the other."""
        release, self._release = self._release, None
        if release is not None:
            release()


class RuntimeImages:
    """The runtime images of one engine."""

    def __init__(
        self,
        engine: Engine,
        *,
        base_image: str | None = None,
        build_ca: Path | None = None,
        sources: Path | None = None,
    ) -> None:
        self._engine = engine
        self.processors = Processors(engine)
        self._sources = sources or image_sources()
        self._table = read_table(self._sources)
        self._bundles = read_bundle(self._sources)
        self._standalone: dict[str, Runtime] = {}
        self._elsewhere: dict[str, Runtime] = {}
        #: Those that were asked for: for Dockerfiles, and for other processors.
        self._bases = BaseImages(engine, self._sources / "debian" / "build", base_image)
        self._old = OldImages(engine)
        self._build_ca = build_ca
        self._recipes: dict[str, _Recipe] = {}
        self._builds: dict[str, _Build] = {}
        self._few_at_a_time = asyncio.Semaphore(min(MOST_BUILDS, max(2, os.cpu_count() or 1)))
        self._suites: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        #: Images of one suite begin alike: built at once, each would have that beginning to itself.
        self._exporting = asyncio.Lock()

    def __repr__(self) -> str:
        return (
            f"<RuntimeImages [{', '.join(self._table)} | building: {', '.join(self._builds) or 'nothing'}]>"
        )

    @property
    def runtimes(self) -> Sequence[str]:
        """The identifiers that there are images of Berth's own for."""
        return tuple(row.identifier for row in self._table.values() if row.is_built)

    @property
    def rows(self) -> Mapping[str, Runtime]:
        """All runtimes, by identifier."""
        return self._table

    def row(self, runtime: str) -> Runtime:
        """A runtime of the table. Raises `UnknownRuntime`."""
        try:
            return self._table[runtime]
        except KeyError:
            known = ", ".join(self._table)
            raise UnknownRuntime(f"there is no runtime {runtime}; there are {known}") from None

    def reference(self, runtime: str) -> str:
        """The image's name, whether it is built or not."""
        return self._recipe(self._row(runtime)).reference

    async def ensure(
        self, runtime: str, progress: Progress, *, fresh: bool = False, processor: str | None = None
    ) -> str:
        """The reference of an image that the engine holds, built first if need be.

        Callers that ask for the same one share one build, and it goes on when they leave. `fresh` builds in any case.
        The engine is asked every time (a millisecond): images are removed behind our back.
        `processor` is another than the engine's, for images that are to be used elsewhere.
        """
        runtime = self._for(runtime, processor)
        reference = self.reference(runtime)
        if fresh or await self._engine.image(reference) is None:
            await self._shared(runtime, progress, fresh=fresh)
        return reference

    async def existing(self, runtime: str) -> str | None:
        """The reference of an image if the engine holds it. Builds nothing."""
        reference = self.reference(runtime)
        return None if await self._engine.image(reference) is None else reference

    async def bundle(self, progress: Progress, processor: str | None = None) -> str:
        """The reference of the bundle's image, built first if need be; for the engine's processor if none is named.

        It holds one directory, `BUNDLE_PLACE`.
        """
        return await self.ensure(self._bundle_name(processor), progress)

    async def standalone(
        self, runtime: str, progress: Progress, *, fresh: bool = False, processor: str | None = None
    ) -> str:
        """The name of an image for people's Dockerfiles to start from (`berth/python:3.11`), built first if need be.

        It is the runtime's image with the emulator and the tools that such Dockerfiles call.
        """
        image = await self.ensure(runtime, progress, fresh=fresh, processor=processor)
        other = self.processors.other(processor)
        bundle = await self.bundle(progress, other)
        row = self._standalone_row(self._for(runtime, other), image, bundle)
        name = f"{REPOSITORY}/{public_name(runtime)}{f'-{other}' if other else ''}"
        await self._engine.tag(await self.ensure(row.identifier, progress, fresh=fresh), name)
        return name

    def _standalone_row(self, runtime: str, image: str, bundle: str) -> Runtime:
        row = standalone_row(self._row(runtime), image, bundle)
        self._standalone[row.identifier] = row
        self._recipes.pop(row.identifier, None)  # made of other images, it is another
        return row

    async def exported(self, place: Path, progress: Progress, processor: str | None = None) -> Path:
        """A directory below `place` that holds the bundle: what a container is given as a read-only mount.

        It is named by the image's content; others of the same engine and place share it.
        """
        reference = await self.bundle(progress, processor)
        image = await self._engine.image(reference)
        if image is None:
            raise EngineError(f"{reference} was removed a moment after it had been built")
        directory = place / str(image["Id"]).removeprefix("sha256:")[:12]
        async with self._exporting:
            if not directory.is_dir():
                await self._export(reference, directory)
        return directory

    async def _export(self, reference: str, directory: Path) -> None:
        directory.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix="draft-", dir=directory.parent))
        try:
            tar = draft / "bundle.tar"
            await self._engine.save_tree(reference, BUNDLE_PLACE, tar, {LABEL: BUNDLE})
            await asyncio.to_thread(_unpack, tar, draft)
            with suppress(FileExistsError):  # another process was faster, and its is the same
                (draft / Path(BUNDLE_PLACE).name).rename(directory)
        finally:
            await asyncio.to_thread(shutil.rmtree, draft)

    def _bundle_name(self, processor: str | None) -> str:
        return f"{BUNDLE}-{self.processors.other(processor) or self.processors.own}"

    async def close(self) -> None:
        """Give up builds under way."""
        tasks = [build.task for build in self._builds.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _shared(self, runtime: str, progress: Progress, *, fresh: bool) -> None:
        build = self._builds.get(runtime)
        if build is None:
            task = asyncio.create_task(self._build(self._row(runtime), fresh=fresh))
            build = self._builds[runtime] = _Build(task)
            task.add_done_callback(lambda _: self._builds.pop(runtime))
        build.listeners.append(progress)
        try:
            await asyncio.shield(build.task)
        finally:
            build.listeners.remove(progress)

    async def _build(self, row: Runtime, *, fresh: bool) -> None:
        def tell(line: str) -> None:
            beginning.hear(line)
            for listener in tuple(self._builds[row.identifier].listeners):
                listener(line)

        lock = self._suites[row.suite]
        await lock.acquire()
        beginning = Beginning(lock.release)
        try:
            async with self._few_at_a_time, reassuring(f"building {row.identifier}", tell) as heard:
                await self._build_image(row, heard, fresh=fresh)
        finally:
            beginning.end()

    async def _build_image(self, row: Runtime, tell: Progress, *, fresh: bool) -> None:
        recipe = self._recipe(row)
        if row.processor:
            await self.processors.require(row.processor)
        base = await self._bases.ensure(row.suite, tell, row.processor)
        compiling = await self._compiling(row, base, tell) if row.compiled else {}
        tell(f"building {recipe.reference} from {base}")
        arguments = {**for_builds(), "BASE": base, "RUNTIME": row.identifier, **compiling, **row.arguments}
        context = tar_of({**recipe.files, **self._ca()})
        labels = {LABEL: row.identifier}
        # The classic builder takes stages of two processors only where it is told of none: their bases say it all.
        platform = None if compiling.get("CROSS") or row.processor is None else f"linux/{row.processor}"
        try:
            await self._engine.build(
                context, recipe.reference, arguments, labels, tell, fresh=fresh, platform=platform
            )
        except StepFailed as error:
            raise self._advised(error, row) from error
        if other := self.processors.other(row.arguments.get("ARCHITECTURE")):
            await self._declared(recipe.reference, other, labels)
        inherited = row.identifier in self._standalone  # other people's images are built on those
        await self._old.replaced(row.identifier, recipe.reference, inherited=inherited)

    async def _compiling(self, row: Runtime, base: str, tell: Progress) -> dict[str, str]:
        """Where what is compiled in the image is: on the engine's own processor, if there is a base for that."""
        if row.processor is None or self._bases.is_fixed:
            platform = f"linux/{row.processor or self.processors.own}"
            return {"BUILD_BASE": base, "BUILD_PLATFORM": platform, "CROSS": ""}
        own = await self._bases.ensure(row.suite, tell)
        platform = f"linux/{self.processors.own}"
        return {"BUILD_BASE": own, "BUILD_PLATFORM": platform, "CROSS": TRIPLES[row.processor]}

    async def _declared(self, reference: str, processor: str, labels: Mapping[str, str]) -> None:
        """Make the bundle's image again as one that says for which processor it is.

        What is built here says that it is for the engine's, and builders refuse to copy from such for another.
        """
        document = await self._engine.image(reference)
        if document is None:
            raise EngineError(f"{reference} was removed a moment after it had been built")
        created = str(document["Created"])
        with tempfile.TemporaryDirectory(prefix="berth-bundle-") as directory:
            tree, moved, archive = (Path(directory, name) for name in ("tree.tar", "moved.tar", "image.tar"))
            await self._engine.save_tree(reference, BUNDLE_PLACE, tree, {LABEL: BUNDLE})
            await asyncio.to_thread(write_moved, tree, moved, str(Path(BUNDLE_PLACE).parent)[1:])
            config = {"Cmd": [f"{BUNDLE_PLACE}/bin/agent"], "Labels": dict(labels)}
            await asyncio.to_thread(
                write_archive, moved, archive, reference, processor, config=config, created=created
            )
            await self._engine.load_archive(archive, reference)

    def _advised(self, error: StepFailed, row: Runtime) -> StepFailed:
        if row.processor and FOREIGN_PROGRAM in str(error):
            return StepFailed(f"{error}\n{CannotRun(row.processor)}")
        if self._build_ca or not any(words in str(error) for words in DISTRUST):
            return error
        advice = "A proxy here signs for other hosts: set build_ca (BERTH_BUILD_CA) to the file with its CA certificate."
        return StepFailed(f"{error}\n{advice}")

    async def prune(self) -> list[str]:
        """Remove images that are not current, in use or not made by Berth excepted; the names of those removed."""
        names = [*self._bundles]
        for processor in set(PROCESSORS.values()):
            bundle = self.reference(self._bundle_name(processor))
            for runtime in self.runtimes:
                name = self._for(runtime, processor)
                names += name, self._standalone_row(name, self.reference(name), bundle).identifier
        probes = map(probe_image, PROCESSORS.values())
        return await self._old.all({*map(self.reference, names), *probes})

    def _row(self, runtime: str) -> Runtime:
        for others in (self._bundles, self._standalone, self._elsewhere):
            if (row := others.get(runtime)) is not None:
                return row
        row = self.row(runtime)
        if not row.is_built:
            known = ", ".join(self.runtimes)
            raise UnknownRuntime(
                f"Berth has no image of its own for the runtime {runtime}; it has for {known}"
            )
        return row

    def _for(self, runtime: str, processor: str | None) -> str:
        """What the image of a runtime for a processor is called here; the engine's own processor adds nothing."""
        other = self.processors.other(processor)
        if other is None:
            return runtime
        row = self._row(runtime)
        name = f"{runtime}-{other}"
        self._elsewhere[name] = replace(row, identifier=name, processor=other)
        return name

    def _recipe(self, row: Runtime) -> _Recipe:
        if row.identifier not in self._recipes:
            files = {**files_under(self._sources / row.context), **self._modules(row)}
            address = content_address(files, row, self._bases.name(row.suite))
            self._recipes[row.identifier] = _Recipe(files, f"{REPOSITORY}/{row.identifier}:{address}")
        return self._recipes[row.identifier]

    def _modules(self, row: Runtime) -> Files:
        """Of `rapid`: all in the bundle, the agent's in a runtime's image, none of its own in what is built on both."""
        place = Path(rapid.__file__).parent
        if row.identifier in self._standalone:
            return {}
        return files_under(place, "rapid/", None if row.identifier in self._bundles else FILES)

    def _ca(self) -> Files:
        return {"ca/ca.crt": (self._build_ca.read_bytes(), 0o644)} if self._build_ca else {}


def files_under(directory: Path, prefix: str = "", names: Iterable[str] | None = None) -> Files:
    """The files below a directory, or some of them, as the build context holds them."""
    paths = [directory / name for name in names] if names else directory.rglob("*")
    return {
        prefix + path.relative_to(directory).as_posix(): (
            path.read_bytes(),
            0o755 if path.stat().st_mode & 0o100 else 0o644,
        )
        for path in paths
        if path.is_file() and "__pycache__" not in path.parts
    }


def content_address(files: Files, row: Runtime, base: str) -> str:
    """Twelve hex digits that stand for everything an image is made of.

    A CA bundle is not part of it: it serves the download and leaves no trace.
    """
    parts = {name: (hashlib.sha256(data).hexdigest(), mode) for name, (data, mode) in sorted(files.items())}
    whole = [
        parts,
        row.identifier,
        row.suite,
        sorted(row.arguments.items()),
        base,
    ]  # the identifier has the processor
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:12]


def _unpack(tar: Path, directory: Path) -> None:
    """The engine's tar of an image that was built here."""
    with tarfile.open(tar) as archive:
        # Not the argument of `extractall`: interpreters without the latest fixes do not know it.
        archive.extraction_filter = getattr(tarfile, "tar_filter", None)
        archive.extractall(directory)  # noqa: S202


def tar_of(files: Files) -> bytes:
    """A tar of these files that is the same whenever it is made."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, (data, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()
