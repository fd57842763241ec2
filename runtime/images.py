"""Runtime images: which Lambda runtimes exist here, and the image of each, built when it is first needed.

Beside them the bundle: an interpreter and `rapid` in one directory that runs in any image (`images/bundle`).

An image is named by its content (`berth/python3.11:<12 hex>`): what goes into it decides its tag, so a changed agent or
Dockerfile is a new image and an unchanged one is never built twice. `python -m runtime.images build` builds ahead.
It knows nothing of functions or sandboxes.
"""

import argparse
import asyncio
import hashlib
import io
import json
import platform
import shutil
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import rapid
from rapid.agent import FILES
from runtime.base_image import BaseImages
from runtime.image_table import (
    BUNDLE,
    PROCESSORS,
    Runtime,
    image_sources,
    public_name,
    read_bundle,
    read_table,
    standalone_row,
)
from runtime.settings import SettingsError, add_flags, flags_of, load
from runtime.spawners.base import SpawnerError
from runtime.spawners.engine import Engine, EngineError, StepFailed

__all__ = ["BUNDLE_PLACE", "Runtime", "RuntimeImages", "UnknownRuntime", "image_sources", "read_table"]

Progress = Callable[[str], None]
Files = Mapping[str, tuple[bytes, int]]
"""Path in the build context → content and mode."""

REPOSITORY = "berth"
LABEL = "berth.image"
STAGE = "berth.stage"
BUNDLE_PLACE = "/var/rapid"
"""Where the bundle lies in its image. It runs anywhere."""
SPARED = 24 * 3600
"""Seconds that an older image is kept: another version of Berth, or another checkout, may still start sandboxes of it."""
DISTRUST = ("CERTIFICATE_VERIFY_FAILED", "SELF_SIGNED_CERT_IN_CHAIN", "UNABLE_TO_GET_ISSUER_CERT_LOCALLY")
"""What pip and npm say of a certificate by somebody they do not know."""


class UnknownRuntime(SpawnerError):
    """No image can be built for this runtime identifier."""


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
        self._sources = sources or image_sources()
        self._table = read_table(self._sources)
        self._bundles = read_bundle(self._sources)
        self._standalone: dict[str, Runtime] = {}
        #: Those that were asked for.
        self._bases = BaseImages(engine, self._sources / "debian" / "build", base_image)
        self._build_ca = build_ca
        self._recipes: dict[str, _Recipe] = {}
        self._builds: dict[str, _Build] = {}
        self._one_at_a_time = asyncio.Lock()

    def __repr__(self) -> str:
        return (
            f"<RuntimeImages [{', '.join(self._table)} | building: {', '.join(self._builds) or 'nothing'}]>"
        )

    @property
    def runtimes(self) -> Sequence[str]:
        """The identifiers that there are images for."""
        return tuple(self._table)

    def reference(self, runtime: str) -> str:
        """The image's name, whether it is built or not."""
        return self._recipe(self._row(runtime)).reference

    async def ensure(self, runtime: str, progress: Progress, *, fresh: bool = False) -> str:
        """The reference of an image that the engine holds, built first if need be.

        Callers that ask for the same one share one build, and it goes on when they leave. `fresh` builds in any case.
        The engine is asked every time (a millisecond): images are removed behind our back.
        """
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

    async def standalone(self, runtime: str, progress: Progress, *, fresh: bool = False) -> str:
        """The name of an image for people's Dockerfiles to start from (`berth/python:3.11`), built first if need be.

        It is the runtime's image with the emulator and the tools that such Dockerfiles call.
        """
        image = await self.ensure(runtime, progress, fresh=fresh)
        row = standalone_row(self._row(runtime), image, await self.bundle(progress))
        self._standalone[row.identifier] = row
        name = f"{REPOSITORY}/{public_name(runtime)}"
        await self._engine.tag(await self.ensure(row.identifier, progress, fresh=fresh), name)
        return name

    async def exported(self, place: Path, progress: Progress, processor: str | None = None) -> Path:
        """A directory below `place` that holds the bundle: what a container is given as a read-only mount.

        It is named by the image's content; others of the same engine and place share it.
        """
        reference = await self.bundle(progress, processor)
        image = await self._engine.image(reference)
        if image is None:
            raise EngineError(f"{reference} was removed a moment after it had been built")
        directory = place / str(image["Id"]).removeprefix("sha256:")[:12]
        async with self._one_at_a_time:
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
        machine = processor or self._engine.facts.machine or platform.machine()
        try:
            return f"{BUNDLE}-{PROCESSORS[machine]}"
        except KeyError:
            known = ", ".join(sorted(set(PROCESSORS.values())))
            raise UnknownRuntime(
                f"there is no bundle for the processor {machine}; there are {known}"
            ) from None

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
            for listener in tuple(self._builds[row.identifier].listeners):
                listener(line)

        recipe = self._recipe(row)
        async with self._one_at_a_time:
            base = await self._bases.ensure(row.suite, tell)
            tell(f"building {recipe.reference} from {base}")
            arguments = {"BASE": base, "RUNTIME": row.identifier, **row.arguments}
            context = tar_of({**recipe.files, **self._ca()})
            labels = {LABEL: row.identifier}
            try:
                await self._engine.build(context, recipe.reference, arguments, labels, tell, fresh=fresh)
            except StepFailed as error:
                raise self._advised(error) from error
            await self._prune(row.identifier, recipe.reference)

    def _is_inherited(self, identifier: str) -> bool:
        """Whether other people's images are built on it, and so carry its label."""
        return identifier in self._standalone

    def _advised(self, error: StepFailed) -> StepFailed:
        if self._build_ca or not any(words in str(error) for words in DISTRUST):
            return error
        advice = "A proxy here signs for other hosts: set build_ca (BERTH_BUILD_CA) to the file with its CA certificate."
        return StepFailed(f"{error}\n{advice}")

    async def _prune(self, runtime: str, current: str) -> None:
        """Remove what the new image replaced. What a sandbox still runs on stays: the engine refuses.

        Other people's images carry our label too, if they are built on ours: only our own names are taken away.
        """
        oldest = time.time() - SPARED
        for image in await self._engine.images(f"{LABEL}={runtime}"):
            if int(image["Created"]) > oldest:
                continue
            tags = [tag for tag in image.get("RepoTags") or () if tag != "<none>:<none>"]
            ours = [tag for tag in tags if _is_called(tag, runtime)]
            if not ours and (tags or self._is_inherited(runtime)):
                continue
            if not any(tag.endswith(current) for tag in tags):  # Podman puts localhost/ before it
                for name in ours or [image["Id"]]:
                    await self._engine.remove_image(name)
        # The newest stage stays, as the builder's cache: with it a new agent is an image within two seconds.
        stages = await self._engine.images(f"{STAGE}={runtime}")
        for image in sorted(stages, key=lambda each: int(each["Created"]))[:-1]:
            await self._engine.remove_image(image["Id"])

    def _row(self, runtime: str) -> Runtime:
        if (row := self._bundles.get(runtime) or self._standalone.get(runtime)) is not None:
            return row
        try:
            return self._table[runtime]
        except KeyError:
            known = ", ".join(self._table)
            raise UnknownRuntime(f"there is no image for the runtime {runtime}; there are {known}") from None

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
    whole = [parts, row.identifier, row.suite, sorted(row.arguments.items()), base]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:12]


def _is_called(tag: str, runtime: str) -> bool:
    return tag.removeprefix("localhost/").startswith(f"{REPOSITORY}/{runtime}:")


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


def main(arguments: Sequence[str] | None = None) -> int:
    """`python -m runtime.images build|standalone [RUNTIME…]`, or `bundle`."""
    parser = argparse.ArgumentParser(
        prog="python -m runtime.images", description="Build runtime images ahead."
    )
    commands = parser.add_subparsers(required=True)
    for name, what in (
        ("build", "build the images of these runtimes, or of all"),
        ("standalone", "build images for Dockerfiles to start from, of these runtimes, or of all"),
    ):
        build = commands.add_parser(name, help=what)
        build.set_defaults(make=_standalone_image if name == "standalone" else _runtime_image)
        build.add_argument("runtime", nargs="*")
        build.add_argument(
            "--fresh", action="store_true", help="build anew what is there, e.g. for security updates"
        )
    bundle = commands.add_parser(
        "bundle", help="build the interpreter and the emulator that run in any image"
    )
    bundle.set_defaults(make=_bundle_image, runtime=[BUNDLE])
    bundle.add_argument("--processor", choices=sorted(PROCESSORS), help="default: the engine's")
    bundle.add_argument(
        "--output", type=Path, help="write it to a directory too, to be mounted into containers"
    )
    for each in commands.choices.values():
        add_flags(each, only=["data_dir", "docker_host", "build_ca", "base_image"])
    try:
        return asyncio.run(_make(parser.parse_args(arguments)))
    except (SpawnerError, SettingsError) as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1


async def _make(arguments: argparse.Namespace) -> int:
    settings = load(flags_of(arguments)).settings
    engine = await Engine.connect(settings.docker_host)
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    try:
        for runtime in arguments.runtime or images.runtimes:
            _show(f"{runtime}: {await arguments.make(images, runtime, arguments)}")
    finally:
        await images.close()
        await engine.close()
    return 0


async def _runtime_image(images: RuntimeImages, runtime: str, arguments: argparse.Namespace) -> str:
    return await images.ensure(runtime, _show, fresh=arguments.fresh)


async def _standalone_image(images: RuntimeImages, runtime: str, arguments: argparse.Namespace) -> str:
    return await images.standalone(runtime, _show, fresh=arguments.fresh)


async def _bundle_image(images: RuntimeImages, _: str, arguments: argparse.Namespace) -> str:
    if arguments.output is None:
        return await images.bundle(_show, arguments.processor)
    return str(await images.exported(arguments.output, _show, arguments.processor))


def _show(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
