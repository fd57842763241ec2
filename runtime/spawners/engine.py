"""The Docker engine, as the rest of Berth sees it: a few verbs over plain values. The only module that imports `docker`.

Every call blocks in the SDK, so every call runs on a bounded pool of threads with a limit in time; what the SDK raises
becomes an `EngineError` here. It knows nothing of sandboxes or of runtimes: containers, images, networks, events.
"""

import asyncio
import functools
import io
import os
import re
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import docker
import docker.errors
import docker.tls
import requests

from runtime.spawners.base import SpawnerError
from runtime.spawners.endpoints import Endpoint, endpoints
from runtime.spawners.engine_facts import EngineFacts, facts_of

P = ParamSpec("P")
T = TypeVar("T")
Progress = Callable[[str], None]
Document = dict[str, Any]

THREADS = 16
PING_LIMIT = 3.0
CALL_LIMIT = 60.0
TRANSFER_LIMIT = 1800.0
BUILD_LIMIT = 7200.0
"""Seconds of a build, whose steps may be silent: an emulated compiler takes an hour where others are at work too."""
TAIL = 30
"""Lines of a failed build that its error shows."""
LONGEST_LINE = 65536
"""Characters of a line that does not end, until what is there of it is passed on."""
COLOURS = re.compile(r"\x1b\[[0-9;]*m")

ADVICE = (
    "`make engine` installs and starts one on Debian and Ubuntu; for one that runs elsewhere, set DOCKER_HOST "
    "(e.g. unix:///run/podman/podman.sock or tcp://host:2375); without any, use the setting spawner=process"
)


class EngineError(SpawnerError):
    """The engine refused or did not answer. `status` is its HTTP status, None where there was no answer."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class NoEngine(EngineError):
    """No engine answers anywhere. `looked` says where, and what happened there."""

    def __init__(self, looked: str) -> None:
        super().__init__(f"no container engine can be reached ({looked}). {ADVICE}")
        self.looked = looked


class StepFailed(EngineError):
    """A build, pull or import ended with an error; the text holds its last lines."""


class Engine:
    """A connection to one engine."""

    def __init__(self, client: docker.APIClient, endpoint: Endpoint, facts: EngineFacts) -> None:
        self.endpoint = endpoint
        self.facts = facts
        self._client = client
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
        self._under_way: set[Future[Any]] = set()

    def __repr__(self) -> str:
        return f"<Engine [{self.facts.title} at {self.endpoint.url}]>"

    @classmethod
    async def connect(
        cls, docker_host: str | None = None, environ: Mapping[str, str] = os.environ
    ) -> "Engine":
        """Connect to the first engine that answers; `NoEngine` says where it looked and what to do."""
        refusals = []
        for endpoint in endpoints(docker_host, environ):
            try:
                async with asyncio.timeout(2 * PING_LIMIT):
                    client, facts = await asyncio.to_thread(_open, endpoint)
            except (TimeoutError, EngineError) as error:
                refusals.append(f"{endpoint.origin}: {error or f'{endpoint.url} does not answer'}")
            else:
                return cls(client, endpoint, facts)
        looked = "; ".join(refusals) or "no current Docker context and no socket of Docker or Podman"
        raise NoEngine(looked)

    async def close(self) -> None:
        """Let go of the engine; calls under way get a moment, for an engine that hangs not more."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._under_way:
            await asyncio.wait([asyncio.wrap_future(call) for call in self._under_way], timeout=PING_LIMIT)
        self._client.close()

    # Containers

    async def create(self, name: str, config: Document) -> tuple[str, list[str]]:
        """Create a container from the engine API's own document; its id, and the engine's warnings."""
        answer = await self._call(self._client.create_container_from_config, config, name)
        return answer["Id"], answer.get("Warnings") or []

    async def start(self, container: str) -> None:
        await self._call(self._client.start, container)

    async def kill(self, container: str) -> None:
        """End a container that runs."""
        await self._call(self._client.kill, container)

    async def ended(self, container: str, limit: float) -> int:
        """Wait for the end of a container's first process; its status."""
        return await self._limited(limit, functools.partial(_wait, self._client, container, limit))

    async def remove(self, container: str) -> None:
        """Kill and remove a container with its anonymous volumes. One that is gone or going is no error."""
        try:
            await self._call(self._client.remove_container, container, v=True, force=True)
        except EngineError as error:
            if error.status not in (404, 409):
                raise

    async def update(self, container: str, limits: Document) -> None:
        """Change limits of a container, in the members of the engine API's own `HostConfig`."""
        await self._call(_update, self._client, container, limits)

    async def inspect(self, container: str) -> Document:
        return await self._call(self._client.inspect_container, container)

    async def containers(self, *labels: str) -> list[Document]:
        """Containers in any state that carry all of these labels (`key` or `key=value`)."""
        return await self._call(self._client.containers, all=True, filters={"label": list(labels)})

    async def output(self, container: str, lines: int) -> str:
        """The last lines that a container wrote, as far as its log driver keeps them."""
        data = await self._call(self._client.logs, container, tail=lines)
        return bytes(data).decode(errors="replace")

    # Networks

    async def networks(self, label: str) -> list[Document]:
        return await self._call(self._client.networks, filters={"label": label})

    async def inspect_network(self, network: str) -> Document:
        return await self._call(self._client.inspect_network, network)

    async def create_network(self, name: str, options: Mapping[str, str], labels: Mapping[str, str]) -> str:
        answer = await self._call(
            self._client.create_network, name, "bridge", options=dict(options), labels=dict(labels)
        )
        return str(answer["Id"])

    async def remove_network(self, network: str) -> None:
        await self._call(self._client.remove_network, network)

    async def connect_network(self, network: str, container: str) -> None:
        await self._call(self._client.connect_container_to_network, container, network)

    async def disconnect_network(self, network: str, container: str) -> None:
        await self._call(self._client.disconnect_container_from_network, container, network, force=True)

    # Images

    async def image(self, reference: str) -> Document | None:
        """An image of the engine's own store, None where there is none. Never asks a registry."""
        try:
            return await self._call(self._client.inspect_image, reference)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def images(self, *labels: str) -> list[Document]:
        """Images that carry all of these labels, tagged or not."""
        return await self._call(self._client.images, filters={"label": list(labels)})

    async def tags(self, repository: str) -> list[str]:
        """The tags under which a repository of the engine's own store has images."""
        found = await self._call(self._client.images, name=repository)
        names = [name.rpartition(":") for image in found for name in image.get("RepoTags") or ()]
        return [tag for name, _, tag in names if name.removeprefix("localhost/") == repository]

    async def remove_image(self, reference: str) -> None:
        """Remove a tag, and the image with its last tag. One that is gone or in use is no error."""
        try:
            await self._call(self._client.remove_image, reference)
        except EngineError as error:
            if error.status not in (404, 409):
                raise

    async def tag(self, reference: str, name: str) -> None:
        """Give an image another name, `repository:tag`, taken from the image that had it."""
        repository, _, tag = name.rpartition(":")
        await self._call(self._client.tag, reference, repository, tag, force=True)

    async def load_tree(self, tar: Path | bytes, reference: str, changes: Sequence[str] = ()) -> None:
        """Make an image whose only layer is this tar (`docker import`)."""
        repository, _, tag = reference.rpartition(":")
        load = functools.partial(_load, self._client, tar, repository, tag, list(changes))
        answer = await self._limited(TRANSFER_LIMIT, load)
        if '"errorDetail"' in answer:
            raise StepFailed(f"importing {reference} failed: {answer.strip()}")

    async def load_archive(self, archive: Path, reference: str) -> None:
        """Take in an image as `docker save` writes it (`docker load`); `reference` is for the error."""
        steps = functools.partial(_load_archive, self._client, archive)
        await self._follow(steps, f"loading {reference}", lambda _: None, TRANSFER_LIMIT)

    async def save_tree(self, reference: str, path: str, tar: Path, labels: Mapping[str, str]) -> None:
        """Write a directory of an image into a tar; names in it begin with the directory's own."""
        container, _ = await self.create("", {"Image": reference, "Labels": dict(labels)})
        try:
            await self._limited(TRANSFER_LIMIT, functools.partial(_save, self._client, container, path, tar))
        finally:
            await self.remove(container)

    async def pull(self, reference: str, progress: Progress, limit: float) -> None:
        """Fetch an image, by its tag or its digest."""
        repository, _, tag = reference.partition("@") if "@" in reference else reference.rpartition(":")
        steps = functools.partial(self._client.pull, repository, tag, stream=True, decode=True)
        await self._follow(steps, f"pulling {reference}", progress, limit)

    async def build(
        self,
        context: bytes,
        tag: str,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
        progress: Progress,
        *,
        fresh: bool = False,
        platform: str | None = None,
    ) -> None:
        """Build an image with the classic builder, the only one behind the engine's API. It pulls nothing.

        `platform`: another than the engine's own.
        """
        steps = functools.partial(
            self._client.build,
            fileobj=io.BytesIO(context), custom_context=True, tag=tag, buildargs=dict(arguments), labels=dict(labels),
            rm=True, forcerm=True, nocache=fresh, decode=True, platform=platform,
        )  # fmt: skip
        await self._follow(steps, f"building {tag}", progress, BUILD_LIMIT)

    async def build_folder(
        self, folder: Path, dockerfile: str, tag: str, target: str, arguments: Mapping[str, str]
    ) -> None:
        """Build an image of a folder, without what its `.dockerignore` names; as with the command, bases are pulled."""
        steps = functools.partial(
            self._client.build,
            path=str(folder), dockerfile=dockerfile, tag=tag, target=target, buildargs=dict(arguments), rm=True,
            forcerm=True, decode=True,
        )  # fmt: skip
        await self._follow(steps, f"building {tag}", lambda _: None, BUILD_LIMIT)

    # Volumes

    async def has_volume(self, name: str) -> bool:
        try:
            await self._call(self._client.inspect_volume, name)
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def fill_volume(self, name: str, image: str, path: str, labels: Mapping[str, str]) -> None:
        """Make a volume that holds what an image has at this path; nothing is left if that fails."""
        options = {"Labels": dict(labels)}
        mount = {"Type": "volume", "Source": name, "Target": path, "VolumeOptions": options}
        filler = {"Image": image, "Labels": dict(labels), "HostConfig": {"Mounts": [mount]}}
        try:
            # The engine copies when the container is made; it is never started.
            container, _ = await self.create("", filler)
        except EngineError:
            await self.remove_volume(name)
            raise
        await self.remove(container)

    async def volumes(self, label: str) -> list[str]:
        """The names of the volumes that carry this label."""
        found = await self._call(self._client.volumes, filters={"label": label})
        return [volume["Name"] for volume in found.get("Volumes") or ()]

    async def remove_volume(self, name: str) -> None:
        """Remove a volume. One that is gone or in use is no error."""
        try:
            await self._call(self._client.remove_volume, name)
        except EngineError as error:
            if error.status not in (404, 409):
                raise

    # Events

    @asynccontextmanager
    async def watch(self, *labels: str, events: Sequence[str]) -> AsyncIterator[AsyncIterator[Document]]:
        """The events of containers that carry these labels, from before this is entered until it is left.

        They end when the engine goes away.
        """
        watcher = _Watcher(self._client, {"type": "container", "label": list(labels), "event": list(events)})
        try:
            await watcher.opened()
            yield watcher.events()
        finally:
            watcher.close()

    # Edges

    async def _call(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._limited(CALL_LIMIT, functools.partial(function, *args, **kwargs))

    async def _limited(self, limit: float, job: Callable[[], T]) -> T:
        def run() -> T:
            with _renamed(self.endpoint.url):
                return job()

        call = self._pool.submit(run)
        self._under_way.add(call)
        call.add_done_callback(self._under_way.discard)
        try:
            async with asyncio.timeout(limit):
                return await asyncio.wrap_future(call)
        except TimeoutError:
            raise EngineError(
                f"the engine at {self.endpoint.url} did not answer within {limit:g} s"
            ) from None

    async def _follow(
        self, begin: Callable[[], Iterable[Document]], what: str, progress: Progress, limit: float
    ) -> None:
        """Run a verb that answers in steps. When the caller leaves, the engine is left at the next step."""
        loop = asyncio.get_running_loop()
        left = threading.Event()

        def run() -> None:
            for line in _lines(begin(), what):
                if left.is_set():
                    return
                loop.call_soon_threadsafe(progress, line)

        try:
            await self._limited(limit, run)
        finally:
            left.set()


class _Watcher:
    """The engine's event stream, read by a thread of its own and handed to the event loop."""

    def __init__(self, client: docker.APIClient, filters: Document) -> None:
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Document | EngineError | None] = asyncio.Queue()
        self._opened = asyncio.Event()
        self._closed = False
        self._stream: Any = None
        self._client = client
        self._filters = filters
        # A daemon: an engine that holds back its first byte must not hold back the end of the program.
        threading.Thread(target=self._read, name="engine-events", daemon=True).start()

    async def opened(self) -> None:
        """Wait until events count. Podman says so only with its first event, hence the limit."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PING_LIMIT):
                await self._opened.wait()

    async def events(self) -> AsyncIterator[Document]:
        while (item := await self._queue.get()) is not None:
            if isinstance(item, EngineError):
                raise item
            yield item

    def close(self) -> None:
        self._closed = True
        if self._stream is not None:
            with suppress(OSError, AttributeError, docker.errors.DockerException):
                self._stream.close()

    def _read(self) -> None:
        if self._closed:  # already, and the engine may be gone too
            return
        last = None
        try:
            with _renamed("the engine's events"):
                self._stream = self._client.events(filters=self._filters, decode=True)
                self._tell(self._opened.set)
                if self._closed:
                    self.close()
                for event in self._stream:
                    self._tell(self._queue.put_nowait, event)
        except EngineError as error:
            last = error
        except Exception as error:  # noqa: BLE001  closing the socket under the SDK surfaces as almost anything
            last = EngineError(f"the engine's events broke off: {error}")
        self._tell(self._opened.set)
        self._tell(self._queue.put_nowait, last)

    def _tell(self, function: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(function, *args)


def _update(client: docker.APIClient, container: str, limits: Document) -> None:
    names = {"Memory": "mem_limit", "MemorySwap": "memswap_limit", "CpuShares": "cpu_shares"}
    client.update_container(container, **{names[member]: value for member, value in limits.items()})


def _wait(client: docker.APIClient, container: str, limit: float) -> int:
    return int(client.wait(container, timeout=int(limit))["StatusCode"])


def _load_archive(client: docker.APIClient, archive: Path) -> Iterator[Document]:
    with archive.open("rb") as file:
        yield from client.load_image(file, quiet=True)  # type: ignore[no-untyped-call]


def _load(client: docker.APIClient, tar: Path | bytes, repository: str, tag: str, changes: list[str]) -> str:
    if isinstance(tar, bytes):
        return str(client.import_image_from_data(tar, repository, tag, changes))
    return str(client.import_image_from_file(str(tar), repository, tag, changes))


def _save(client: docker.APIClient, container: str, path: str, tar: Path) -> None:
    stream, _ = client.get_archive(container, path)
    with tar.open("wb") as file:
        file.writelines(stream)


def _open(endpoint: Endpoint) -> tuple[docker.APIClient, EngineFacts]:
    with _renamed(endpoint.url):
        _knock(endpoint.url)
        tls = endpoint.certificates is not None and _tls(endpoint.certificates)
        client = docker.APIClient(
            endpoint.url, version="auto", timeout=int(PING_LIMIT), tls=tls, max_pool_size=THREADS
        )
        facts = facts_of(client.version(), client.info())
        client.timeout = int(CALL_LIMIT)
    return client, facts


def _knock(url: str) -> None:
    """Fail at once, and with the system's own words, where no one listens; the SDK would leave its socket open."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as door:
            door.settimeout(PING_LIMIT)
            door.connect(url.removeprefix("unix://"))


def _tls(directory: Path) -> docker.tls.TLSConfig:
    pair = (str(directory / "cert.pem"), str(directory / "key.pem"))
    return docker.tls.TLSConfig(client_cert=pair, ca_cert=str(directory / "ca.pem"), verify=True)


def _lines(steps: Iterable[Document], what: str) -> Iterator[str]:
    """The text of an operation's steps, line by line; a step that is an error becomes `StepFailed`."""
    seen: deque[str] = deque(maxlen=TAIL)
    failure = None
    rest = ""
    for step in steps:  # to the end, even after a failure: only then is the connection free again
        failure = failure or step.get("error")
        # Without `progressDetail`: those lines redraw bars. What a build says comes in pieces, a line in several.
        status = "" if step.get("progressDetail") else step.get("status", "")
        *whole, rest = (rest + COLOURS.sub("", step.get("stream") or f"{status}\n")).split("\n")
        if len(rest) > LONGEST_LINE:
            whole, rest = [*whole, rest], ""
        for line in filter(None, map(as_drawn, whole)):
            seen.append(line)
            yield line
    if line := as_drawn(rest):
        seen.append(line)
        yield line
    if failure:
        raise StepFailed("\n".join([f"{what} failed: {failure}", *seen]))


def as_drawn(line: str) -> str:
    """What a terminal shows of a line in the end: programs that count draw it again and again."""
    return line.rstrip().rpartition("\r")[2]


@contextmanager
def _renamed(engine: str) -> Iterator[None]:
    """Foreign exceptions, renamed."""
    try:
        yield
    except docker.errors.APIError as error:
        raise EngineError(str(error.explanation or error), error.status_code) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise EngineError(f"{engine}: {_cause(error)}") from error


def _cause(error: BaseException) -> str:
    """What the system said, below the layers of the SDK; else what the SDK says."""
    inner: BaseException | None = error
    while inner is not None:
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
        inner = inner.__cause__ or inner.__context__
    return str(error)
