"""An engine that behaves, without containers: the Engine API on a Unix socket, with what is refused told beforehand."""

import base64
import hashlib
import io
import itertools
import json
import queue
import re
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from runtime.spawners.engine import Engine

Document = dict[str, Any]


class Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class FakeEngine:
    """Its state, to look at and to set; `url` is where it listens."""

    url: str
    containers: dict[str, Document] = field(default_factory=dict)
    networks: dict[str, Document] = field(default_factory=dict)
    images: dict[str, Document] = field(default_factory=dict)
    volumes: dict[str, Document] = field(default_factory=dict)
    builds: list[Document] = field(default_factory=list)
    built: dict[str, str] = field(default_factory=dict)
    """Images by what they were built of."""
    build_steps: list[Document] = field(default_factory=lambda: [{"stream": "Step 1/1 : FROM x\n"}])
    emulates: set[str] = field(default_factory=set)
    """Processors, beside its own, whose programs it runs."""
    layers: dict[str, bytes] = field(default_factory=dict)
    """What loaded images are made of: a tar each."""
    pulls: list[str] = field(default_factory=list)
    registry: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    refused_members: set[str] = field(default_factory=set)
    """Members of HostConfig with which no container starts."""
    visible: Callable[[str], bool] = lambda _: True
    """Whether the engine sees a path of this machine."""
    failures: list[tuple[str, int, str]] = field(default_factory=list)
    """Requests to fail, once each: `METHOD /path` (a regular expression), status, message."""
    before: Callable[[str], None] = lambda _: None
    """Called with each request: hold it back here."""
    gateway: str = "127.0.0.1"
    listeners: "list[queue.Queue[Document | None]]" = field(default_factory=list)
    subscribed: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def emit(self, action: str, container: Document, **attributes: str) -> None:
        actor = {"ID": container["Id"], "Attributes": {**container["Config"]["Labels"], **attributes}}
        for listener in self.listeners:
            listener.put({"Type": "container", "Action": action, "Actor": actor})

    def end(self, name: str, status: int = 0, *, oom: bool = False) -> None:
        """A container's first process ends by itself."""
        container = self.find(name)
        container["State"] = {"Status": "exited", "ExitCode": status, "OOMKilled": oom}
        if oom:
            self.emit("oom", container)
        self.emit("die", container, exitCode=str(status))

    def hang_up(self) -> None:
        """End all event streams, as an engine that restarts."""
        listeners, self.listeners[:] = list(self.listeners), []
        for listener in listeners:
            listener.put(None)

    def find(self, name: str) -> Document:
        for container in self.containers.values():
            if container["Id"].startswith(name) or container["Name"] == f"/{name}":
                return container
        raise Refusal(404, f"No such container: {name}")

    def new_id(self) -> str:
        return f"{next(self.counter):064x}"

    # The verbs, by request

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> Any:
        for pattern, verb in ROUTES:
            if match := re.fullmatch(pattern, f"{method} {path}"):
                return verb(self, query, body, *map(unquote, match.groups()))
        raise Refusal(404, f"page not found: {method} {path}")

    def create(self, query: dict[str, str], body: Any) -> Document:
        name = query.get("name") or self.new_id()
        if any(each["Name"] == f"/{name}" for each in self.containers.values()):
            raise Refusal(409, f'Conflict. The container name "/{name}" is already in use')
        self.inspect_image(query, body, body["Image"])
        for mount in body.get("HostConfig", {}).get("Mounts", ()):
            if mount["Type"] == "volume" and "Source" in mount:
                name, labels = mount["Source"], mount.get("VolumeOptions", {}).get("Labels", {})
                self.volumes.setdefault(name, {"Name": name, "Labels": labels, "Image": body["Image"]})
            if mount["Type"] == "bind" and not self.visible(mount["Source"]):
                raise Refusal(400, 'invalid mount config for type "bind": bind source path does not exist')
        container = {"Id": self.new_id(), "Name": f"/{name}", "Config": body, "State": {"Status": "created"}}
        self.containers[container["Id"]] = container
        return {"Id": container["Id"], "Warnings": []}

    def start(self, query: dict[str, str], body: Any, name: str) -> None:
        container = self.find(name)
        mode = container["Config"]["HostConfig"].get("NetworkMode", "")
        joined = self.find(mode.partition(":")[2]) if mode.startswith("container:") else None
        if joined and joined["State"]["Status"] != "running":
            raise Refusal(409, "cannot join network of a non running container")
        if refused := self.refused_members & set(container["Config"]["HostConfig"]):
            raise Refusal(500, f"OCI runtime create failed: {refused}")
        container["State"]["Status"] = "running"

    def wait(self, query: dict[str, str], body: Any, name: str) -> Document:
        """Only programs of 132 bytes ever end."""
        image = self.inspect_image(query, body, self.find(name)["Config"]["Image"])
        return {"StatusCode": 42 if image["Architecture"] in self.emulates else 255}

    def update(self, query: dict[str, str], body: Any, name: str) -> Document:
        host = self.find(name)["Config"]["HostConfig"]
        # The engine's zeros and nulls mean: as it was.
        host.update({member: value for member, value in body.items() if value and member in host})
        return {"Warnings": None}

    def kill(self, query: dict[str, str], body: Any, name: str) -> None:
        self.end(name, 137)

    def remove(self, query: dict[str, str], body: Any, name: str) -> None:
        container = self.find(name)
        if container["State"]["Status"] == "running":
            self.emit("die", container, exitCode="137")
        del self.containers[container["Id"]]

    def inspect(self, query: dict[str, str], body: Any, name: str) -> Document:
        return self.find(name)

    def list_containers(self, query: dict[str, str], body: Any) -> list[Document]:
        return [
            {"Id": each["Id"], "Labels": each["Config"]["Labels"], "State": each["State"]["Status"]}
            for each in self.containers.values()
            if labelled(each["Config"]["Labels"], query)
        ]

    def list_networks(self, query: dict[str, str], body: Any) -> list[Document]:
        return [each for each in self.networks.values() if labelled(each["Labels"], query)]

    def inspect_network(self, query: dict[str, str], body: Any, network: str) -> Document:
        return self.networks[network]

    def create_network(self, query: dict[str, str], body: Any) -> Document:
        addresses = {"Config": [{"Subnet": "127.0.0.0/8", "Gateway": self.gateway}]}
        network = {"Id": self.new_id(), "Containers": {}, **body, "IPAM": addresses}
        self.networks[network["Id"]] = network
        return {"Id": network["Id"]}

    def remove_network(self, query: dict[str, str], body: Any, network: str) -> None:
        if self.networks[network]["Containers"]:
            raise Refusal(403, "network has active endpoints")
        del self.networks[network]

    def connect(self, query: dict[str, str], body: Any, network: str) -> None:
        container = self.find(body["Container"])
        self.networks[network]["Containers"][container["Id"]] = {}
        settings = container.setdefault("NetworkSettings", {"Networks": {}})
        settings["Networks"][self.networks[network]["Name"]] = {"IPAddress": "172.30.0.2"}

    def disconnect(self, query: dict[str, str], body: Any, network: str) -> None:
        self.networks[network]["Containers"].pop(self.find(body["Container"])["Id"])

    def add_image(self, reference: str, labels: dict[str, str] | None = None, **members: Any) -> str:
        moment = next(self.counter)
        identity = f"sha256:{hashlib.sha256(str(moment).encode()).hexdigest()}"
        self.images[reference] = {
            "Id": identity, "RepoTags": [reference], "Labels": labels or {}, "Created": moment,
            "Os": "linux", "Architecture": "amd64", **members,
        }  # fmt: skip
        return identity

    def inspect_image(self, query: dict[str, str], body: Any, reference: str) -> Document:
        """By a name or by its identifier, for which one of its names must be left."""
        for name, image in self.images.items():
            if reference in (name, image["Id"]):
                return image
        raise Refusal(404, f"No such image: {reference}")

    def list_images(self, query: dict[str, str], body: Any) -> list[Document]:
        repositories = json.loads(query.get("filters", "{}")).get("reference", [])
        return [
            each
            for name, each in self.images.items()
            if labelled(each["Labels"], query)
            and (not repositories or name.rpartition(":")[0] in repositories)
        ]

    def tag_image(self, query: dict[str, str], body: Any, reference: str) -> None:
        image, name = self.inspect_image(query, body, reference), f"{query['repo']}:{query['tag']}"
        if name not in image["RepoTags"]:
            image["RepoTags"].append(name)
        self.images[name] = image

    def remove_image(self, query: dict[str, str], body: Any, reference: str) -> list[Document]:
        image = self.inspect_image(query, body, reference)
        if reference in image["RepoTags"]:
            image["RepoTags"].remove(reference)
        del self.images[reference]
        return []

    def inspect_volume(self, query: dict[str, str], body: Any, name: str) -> Document:
        if name not in self.volumes:
            raise Refusal(404, f"get {name}: no such volume")
        return self.volumes[name]

    def list_volumes(self, query: dict[str, str], body: Any) -> Document:
        return {"Volumes": [each for each in self.volumes.values() if labelled(each["Labels"], query)]}

    def remove_volume(self, query: dict[str, str], body: Any, name: str) -> None:
        self.inspect_volume(query, body, name)
        del self.volumes[name]

    def create_image(self, query: dict[str, str], body: Any) -> list[Document]:
        if "fromSrc" in query:
            self.add_image(f"{query['repo']}:{query['tag']}")
            return [{"status": "sha256:0"}]
        reference = f"{query['fromImage']}:{query['tag']}"
        self.pulls.append(reference)
        if reference not in self.registry:
            raise Refusal(500, "dial tcp: lookup registry: no such host")
        self.add_image(reference)
        return [{"status": "Download complete"}]

    def load(self, query: dict[str, str], body: Any) -> list[Document]:
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            (manifest,) = json.load(tar.extractfile("manifest.json") or io.BytesIO())
            config = json.load(tar.extractfile(manifest["Config"]) or io.BytesIO())
            for layer, digest in zip(manifest["Layers"], config["rootfs"]["diff_ids"], strict=True):
                data = (tar.extractfile(layer) or io.BytesIO()).read()
                assert digest == f"sha256:{hashlib.sha256(data).hexdigest()}"
        for name in manifest["RepoTags"]:
            self.layers[name] = data
            self.add_image(
                name,
                config["config"].get("Labels"),
                Architecture=config["architecture"],
                Config=config["config"],
            )
        return [{"stream": "Loaded image\n"}]

    def archive(self, query: dict[str, str], body: Any, name: str) -> bytes:
        """Of a container: what its image holds at a path, which is one file here and a link to it."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            last = query["path"].rpartition("/")[2]
            entry = tarfile.TarInfo(f"{last}/file")
            entry.size = 4
            tar.addfile(entry, io.BytesIO(b"data"))
            entry = tarfile.TarInfo(f"{last}/link")
            entry.type, entry.linkname = tarfile.LNKTYPE, f"{last}/file"
            tar.addfile(entry)
        return buffer.getvalue()

    def build(self, query: dict[str, str], body: Any) -> list[Document]:
        self.builds.append({**query, "buildargs": json.loads(query.get("buildargs", "{}")), "context": body})
        """What is built of the same again is the same image, as long as that is there."""
        if not any("error" in step for step in self.build_steps):
            made_of = hashlib.sha256(body + query.get("buildargs", "").encode()).hexdigest()
            before = self.built.get(made_of)
            if before in {each["Id"] for each in self.images.values()}:
                repository, _, tag = query["t"].rpartition(":")
                self.tag_image({"repo": repository, "tag": tag}, None, str(before))
            else:
                self.built[made_of] = self.add_image(query["t"], json.loads(query.get("labels", "{}")))
        return self.build_steps

    def version(self, query: dict[str, str], body: Any) -> Document:
        return {"ApiVersion": "1.41", "Version": "20.10.24", "Components": [{"Name": "Engine"}]}

    def info(self, query: dict[str, str], body: Any) -> Document:
        return {"OperatingSystem": "Debian", "SecurityOptions": [], "MemoryLimit": True}


ROUTES: list[tuple[str, Callable[..., Any]]] = [
    (r"GET /version", FakeEngine.version),
    (r"GET /info", FakeEngine.info),
    (r"POST /containers/create", FakeEngine.create),
    (r"GET /containers/json", FakeEngine.list_containers),
    (r"POST /containers/([^/]+)/start", FakeEngine.start),
    (r"POST /containers/([^/]+)/wait", FakeEngine.wait),
    (r"GET /containers/([^/]+)/archive", FakeEngine.archive),
    (r"POST /containers/([^/]+)/update", FakeEngine.update),
    (r"POST /containers/([^/]+)/kill", FakeEngine.kill),
    (r"GET /containers/([^/]+)/json", FakeEngine.inspect),
    (r"DELETE /containers/([^/]+)", FakeEngine.remove),
    (r"GET /networks", FakeEngine.list_networks),
    (r"POST /networks/create", FakeEngine.create_network),
    (r"POST /networks/([^/]+)/connect", FakeEngine.connect),
    (r"POST /networks/([^/]+)/disconnect", FakeEngine.disconnect),
    (r"GET /networks/([^/]+)", FakeEngine.inspect_network),
    (r"DELETE /networks/([^/]+)", FakeEngine.remove_network),
    (r"POST /images/load", FakeEngine.load),
    (r"POST /images/create", FakeEngine.create_image),
    (r"GET /images/json", FakeEngine.list_images),
    (r"GET /images/(.+)/json", FakeEngine.inspect_image),
    (r"POST /images/(.+)/tag", FakeEngine.tag_image),
    (r"DELETE /images/(.+)", FakeEngine.remove_image),
    (r"GET /volumes", FakeEngine.list_volumes),
    (r"GET /volumes/([^/]+)", FakeEngine.inspect_volume),
    (r"DELETE /volumes/([^/]+)", FakeEngine.remove_volume),
    (r"POST /build", FakeEngine.build),
]


def labelled(labels: dict[str, str], query: dict[str, str]) -> bool:
    wanted = json.loads(query.get("filters", "{}")).get("label", [])
    return all(
        label.partition("=")[0] in labels
        and ("=" not in label or labels[label.partition("=")[0]] == label.partition("=")[2])
        for label in wanted
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def _serve(self) -> None:
        fake = self.server.fake
        url = urlsplit(self.path)
        path = re.sub(r"^/v[0-9.]+", "", url.path)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
        body = self._body()
        fake.asked.append(f"{self.command} {path}")
        fake.before(f"{self.command} {path}")
        if path == "/events":
            return self._stream(fake)
        try:
            self._fail_if_told(fake, f"{self.command} {path}")
            answer = fake.answer(self.command, path, query, body)
        except Refusal as refusal:
            return self._send(refusal.status, {"message": str(refusal)})
        if path in ("/build", "/images/create", "/images/load"):
            return self._chunks(answer)
        if isinstance(answer, bytes):
            return self._send_raw(answer)
        return self._send(204 if answer is None else 200, answer)

    do_GET = do_POST = do_DELETE = _serve  # noqa: N815  the base class's names

    def _fail_if_told(self, fake: FakeEngine, request: str) -> None:
        for failure in fake.failures:
            pattern, status, message = failure
            if re.fullmatch(pattern, request):
                fake.failures.remove(failure)
                raise Refusal(status, message)

    def _body(self) -> Any:
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return json.loads(data) if data and self.headers.get("Content-Type") == "application/json" else data

    def _send(self, status: int, document: Any) -> None:
        data = json.dumps(document).encode() if status != 204 else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _send_raw(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/x-tar")
        self.send_header("X-Docker-Container-Path-Stat", base64.b64encode(b"{}").decode())
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, fake: FakeEngine) -> None:
        events: queue.Queue[Document | None] = queue.Queue()
        fake.listeners.append(events)
        fake.subscribed.release()
        self._chunks(iter(events.get, None))
        self.close_connection = True

    def _chunks(self, documents: Iterable[Document]) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for document in documents:
            data = json.dumps(document).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the base class's name
        pass


class Server(ThreadingMixIn, UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128  # who finds it full is refused, and the SDK leaves its socket open
    fake: FakeEngine

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that hang up are none of a test's business."""


@pytest.fixture
def fake_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeEngine]:
    path = tmp_path_factory.mktemp("engine") / "s"
    with Server(str(path), Handler) as server:
        server.fake = FakeEngine(f"unix://{path}")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.fake
        server.fake.hang_up()
        server.shutdown()
        thread.join()


@pytest.fixture
async def engine(fake_engine: FakeEngine) -> AsyncIterator[Engine]:
    """A connection to the engine that behaves."""
    engine = await Engine.connect(fake_engine.url)
    yield engine
    await engine.close()
