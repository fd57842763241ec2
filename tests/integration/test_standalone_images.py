"""`docker run` of functions in container images: AWS's Dockerfiles on our base images, and foreign images beside them.

And the same requests to AWS's own emulator, where `make bench` has fetched it: what both answer alike, and where ours
answers as Lambda does instead.
"""

import asyncio
import io
import json
import os
import platform
import tarfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runtime.images import RuntimeImages
from runtime.settings import load
from runtime.spawners.container import bind
from runtime.spawners.engine import Engine

pytestmark = pytest.mark.docker

LABEL = "berth.test-standalone"
PATH = "2015-03-31/functions/function/invocations"

PYTHON = """
import os, sys, time
def handler(event, context):
    if "fail" in event: raise ValueError(event["fail"])
    if "leave" in event: os._exit(event["leave"])
    if "wait" in event: time.sleep(event["wait"])
    if "say" in event: print(event["say"])
    if "meet" in event: return meet(**event["meet"])
    if "who" in event: return [os.getuid(), os.environ["AWS_LAMBDA_FUNCTION_NAME"], os.environ["WRAPPED"], context.memory_limit_in_mb]
    return event

def meet(name, count):
    # Ends when so many have come; says where they met.
    open(f"/tmp/{name}-{os.getpid()}", "w").close()
    while len([each for each in os.listdir("/tmp") if each.startswith(name)]) < count: time.sleep(0.001)
    return [os.getpid(), os.getppid()]
"""
WRAPPER = '#!/bin/sh\nexport WRAPPED=yes\nexec "$@"\n'
NODE = """
exports.handler = async (event) => ({ ...event, version: process.version.split(".")[0], found: require.resolve("left") });
"""
SHELL = """#!/bin/sh
# As in AWS's tutorial: `sh` is bash there.
set -euo pipefail
function answer () {
    RESPONSE="{\\"handler\\": \\"$_HANDLER\\", \\"event\\": $1}"
    echo $RESPONSE
}
while true
do
    HEADERS="$(mktemp)"
    EVENT_DATA=$(curl -sS -LD "$HEADERS" "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/next")
    REQUEST_ID=$(grep -Fi Lambda-Runtime-Aws-Request-Id "$HEADERS" | tr -d '[:space:]' | cut -d: -f2)
    RESPONSE=$(answer "$EVENT_DATA")
    curl "http://${AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation/$REQUEST_ID/response"  -d "$RESPONSE"
done
"""

STAGES = """
import ctypes, os, time, greeting
def handler(event, context):
    ctypes.CDLL("libgreeting.so")
    names = ("AWS_EXECUTION_ENV", "LANG", "TZ")
    noon = time.localtime(1782907200)  # 2026-07-01T12:00Z
    return {"greeting": greeting.__file__, "hour": noon.tm_hour, "variables": [os.environ.get(name) for name in names]}
"""

DOCKERFILES = {
    # As AWS's documentation has them, but for the FROM line.
    "python3.11": """
        FROM {base}
        COPY requirements.txt ${LAMBDA_TASK_ROOT}
        RUN pip install -r requirements.txt --target "${LAMBDA_TASK_ROOT}"
        COPY app.py ${LAMBDA_TASK_ROOT}
        COPY wrapper /opt/wrapper
        CMD [ "app.handler" ]
    """,
    "nodejs22.x": """
        FROM {base}
        COPY package.json index.js ${LAMBDA_TASK_ROOT}/
        COPY left ${LAMBDA_TASK_ROOT}/left
        RUN npm install --offline --no-audit --no-fund
        CMD [ "index.handler" ]
    """,
    "provided.al2023": """
        FROM {base}
        COPY bootstrap ${LAMBDA_RUNTIME_DIR}/bootstrap
        CMD [ "function.handler" ]
    """,
}
FILES = {
    "python3.11": {"requirements.txt": "", "app.py": PYTHON, "wrapper": WRAPPER},
    "nodejs22.x": {
        "package.json": '{"name": "f", "version": "1.0.0", "dependencies": {"left": "file:./left"}}',
        "index.js": NODE,
        "left/package.json": '{"name": "left", "version": "1.0.0"}',
        "left/index.js": "",
    },
    "provided.al2023": {"bootstrap": SHELL},
}


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def value(self) -> Any:
        return json.loads(self.body)


class Container:
    """One that answers on a port of this machine."""

    def __init__(self, engine: Engine, reference: str, url: str, session: aiohttp.ClientSession) -> None:
        self.engine, self.reference, self.url, self.session = engine, reference, url, session

    async def post(self, event: object, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        body = event if isinstance(event, bytes) else json.dumps(event).encode()
        async with self.session.post(f"{self.url}/{PATH}", data=body, headers=named) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def stop(self) -> int:
        """What `docker stop` does; the exit status."""
        await asyncio.create_subprocess_exec("docker", "--host", self.engine.endpoint.url, "kill", "-s", "TERM", self.reference,
                                             stdout=asyncio.subprocess.DEVNULL)  # fmt: skip
        return await exit_status(self.engine, self.reference)

    async def log(self) -> str:
        return await self.engine.output(self.reference, 500)


async def exit_status(engine: Engine, reference: str) -> int:
    process = await asyncio.create_subprocess_exec(
        "docker", "--host", engine.endpoint.url, "wait", reference, stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return int(said)


Run = Callable[..., Any]


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """Images by runtime; built once for all tests here."""
    return {}


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = await Engine.connect(load({}).settings.docker_host)
    yield engine
    for container in await engine.containers(LABEL):
        await engine.remove(container["Id"])
    await engine.close()


@pytest.fixture
async def images(engine: Engine) -> AsyncIterator[RuntimeImages]:
    settings = load({}).settings
    images = RuntimeImages(engine, base_image=settings.base_image, build_ca=settings.build_ca)
    yield images
    await images.close()


@pytest.fixture
async def image(engine: Engine, images: RuntimeImages, made: dict[str, str]) -> Callable[..., Any]:
    """Builds the function's image of a runtime as people do."""

    async def build(runtime: str) -> str:
        if runtime not in made:
            base = await images.standalone(runtime, print)
            files = {**FILES[runtime], "Dockerfile": DOCKERFILES[runtime].replace("{base}", base)}
            name = f"berth-test/{runtime}:1"
            await engine.build(_context(files), name, {}, {LABEL: "1"}, print)
            made[runtime] = name
        return made[runtime]

    return build


def _context(files: Mapping[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755 if text.startswith("#!") else 0o644
            tar.addfile(entry, io.BytesIO(text.encode()))
    return buffer.getvalue()


@pytest.fixture
async def run(engine: Engine) -> AsyncIterator[Run]:
    """`docker run -d -p 127.0.0.1:…:8080 IMAGE`."""
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60))

    async def start(name: str, *, mounts: Sequence[object] = (), **document: Any) -> Container:
        ports = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
        host = {"PortBindings": ports, "Mounts": list(mounts)}
        whole = {
            "Image": name,
            "Labels": {LABEL: "1"},
            "ExposedPorts": {"8080/tcp": {}},
            "HostConfig": host,
            **document,
        }
        reference, _ = await engine.create("", whole)
        await engine.start(reference)
        [bound] = (await engine.inspect(reference))["NetworkSettings"]["Ports"]["8080/tcp"]
        container = Container(engine, reference, f"http://127.0.0.1:{bound['HostPort']}", session)
        await _answers(container)
        return container

    yield start
    await session.close()


async def _answers(container: Container) -> None:
    """Wait until somebody listens behind the engine's proxy; what it answers does not matter."""
    async with asyncio.timeout(30):
        while True:
            try:
                async with container.session.get(container.url):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(0)  # nobody tells when a port opens in another's container


async def test_a_python_function_in_its_image(image: Any, run: Run) -> None:
    """AWS's Dockerfile with another FROM line: events, log, wrapper, limits, and the end."""
    env = [
        "AWS_LAMBDA_FUNCTION_NAME=mine",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE=256",
        "AWS_LAMBDA_EXEC_WRAPPER=/opt/wrapper",
    ]
    container = await run(await image("python3.11"), Env=env)
    assert (await container.post({"a": 1})).value == {"a": 1}
    assert (await container.post({"who": 1, "say": "hello"})).value == [0, "mine", "yes", "256"]
    assert await container.stop() == 0
    log = await container.log()
    assert "hello\n" in log
    assert "Memory Size: 256 MB\tMax Memory Used: " in log


async def test_a_python_function_as_another_user(image: Any, run: Run) -> None:
    """No root is needed, nor a file system that can be written to."""
    env = ["AWS_LAMBDA_EXEC_WRAPPER=/opt/wrapper"]
    container = await run(await image("python3.11"), Env=env, User="1234:1234")
    assert (await container.post({"who": 1})).value[0] == 1234


async def test_a_node_function_in_its_image(image: Any, run: Run) -> None:
    """With a package that npm installed."""
    container = await run(await image("nodejs22.x"))
    answer = (await container.post({"a": 1})).value
    assert (answer["a"], answer["version"]) == (1, "v22")
    assert answer["found"].startswith("/var/task/")


async def test_a_function_of_an_own_runtime_in_its_image(image: Any, run: Run) -> None:
    """A bootstrap where AWS's documentation puts it."""
    container = await run(await image("provided.al2023"))
    assert (await container.post({"a": 1})).value == {"handler": "function.handler", "event": {"a": 1}}


async def test_what_one_stage_installs_another_copies(
    engine: Engine, images: RuntimeImages, run: Run
) -> None:
    """A Dockerfile of two stages, as people have them; and a library where AWS's images look for such."""
    base = await images.standalone("python3.11", print)
    site = "/var/lang/lib/python3.11/site-packages"
    dockerfile = f"""
        FROM {base} AS builder
        COPY greeting /tmp/greeting
        RUN pip install --no-index --no-build-isolation /tmp/greeting && cp /lib/*/libz.so.1 /tmp/libgreeting.so
        FROM {base}
        COPY --from=builder {site} {site}
        COPY --from=builder /tmp/libgreeting.so /opt/lib/
        COPY app.py ./
        CMD ["app.handler"]
    """
    files = {
        "Dockerfile": dockerfile,
        "greeting/setup.py": "from setuptools import setup\nsetup(name='greeting', py_modules=['greeting'])",
        "greeting/greeting.py": "",
        "app.py": STAGES,
    }
    await engine.build(_context(files), "berth-test/stages:1", {}, {LABEL: "1"}, print)
    said = (await (await run("berth-test/stages:1", Env=["TZ=Asia/Tokyo"])).post({})).value
    assert said["greeting"].endswith("-packages/greeting.py")
    assert said["hour"] == 21
    assert said["variables"] == ["AWS_Lambda_python3.11", "en_US.UTF-8", "Asia/Tokyo"]


async def test_a_thousand_requests_at_a_time(image: Any, run: Run) -> None:
    """All are answered, each with its own."""
    container = await run(await image("python3.11"))
    answers = await asyncio.gather(*(container.post({"n": number}) for number in range(1000)))
    assert {answer.status for answer in answers} == {200}
    assert [answer.value["n"] for answer in answers] == list(range(1000))


async def test_many_requests_in_one_environment(image: Any, run: Run) -> None:
    """Four workers of one runtime meet, and say so with Lambda's lines in the log."""
    env = ["AWS_LAMBDA_MAX_CONCURRENCY=4", "BERTH_MAX_ENVIRONMENTS=1"]
    container = await run(await image("python3.11"), Env=env)
    event = {"meet": {"name": "here", "count": 4}, "say": "at the meeting"}
    answers = await asyncio.gather(*(container.post(event) for _ in range(4)))
    workers, runtimes = zip(*(answer.value for answer in answers), strict=True)
    assert (len(set(workers)), len(set(runtimes))) == (4, 1)
    assert await container.stop() == 0
    log = await container.log()
    assert log.count("at the meeting\n") == 4
    assert log.count("REPORT RequestId: ") == 4


async def test_a_concurrency_that_is_no_number_ends_the_container(image: Any, engine: Engine) -> None:
    """With the variable's name and what it has to be."""
    env = ["AWS_LAMBDA_MAX_CONCURRENCY=many"]
    document = {"Image": await image("python3.11"), "Env": env, "Labels": {LABEL: "1"}}
    reference, _ = await engine.create("", document)
    await engine.start(reference)
    assert await exit_status(engine, reference) == 2
    assert "AWS_LAMBDA_MAX_CONCURRENCY has to be a whole number above 0" in await engine.output(reference, 5)


@pytest.mark.parametrize(
    ("runtime", "start"),
    [
        ("python3.11", "/var/lang/bin/python3 /var/runtime/bootstrap.py"),
        ("nodejs22.x", "/var/lang/bin/node --"),
        ("provided.al2023", "app.handler at platform:1"),
    ],
)
async def test_under_a_platform_the_runtime_starts_by_itself(
    images: RuntimeImages, engine: Engine, runtime: str, start: str
) -> None:
    """The entry point starts /var/runtime/bootstrap, or one of the function's, and no emulator; a wrapper gets its command."""
    base = await images.standalone(runtime, print)
    own = "#!/bin/sh\\necho $_HANDLER at $AWS_LAMBDA_RUNTIME_API\\n"
    prepare = f'printf \'{own}\' >/var/task/bootstrap && chmod 755 /var/task/bootstrap && exec "$0" "$@"'
    document = {
        "Image": base,
        "Entrypoint": ["/bin/sh", "-c", prepare, "/lambda-entrypoint.sh"],
        "Cmd": ["app.handler"],
        "Env": ["AWS_LAMBDA_RUNTIME_API=platform:1", "AWS_LAMBDA_EXEC_WRAPPER=/bin/echo"],
        "Labels": {LABEL: "1"},
    }
    reference, _ = await engine.create("", document)
    await engine.start(reference)
    assert await exit_status(engine, reference) == 0
    said = (await engine.output(reference, 5)).splitlines()
    assert len(said) == 1
    assert said[0].startswith(start)


@pytest.mark.parametrize("runtime", ["python3.11", "nodejs22.x", "provided.al2023"])
@pytest.mark.parametrize("arguments", [[], ["one", "two"]])
async def test_the_entry_point_wants_the_handler(
    image: Any, engine: Engine, runtime: str, arguments: list[str]
) -> None:
    """One argument, as in AWS's images."""
    name = await image(runtime)
    document = {
        "Image": name,
        "Cmd": arguments,
        "Entrypoint": ["/lambda-entrypoint.sh"],
        "Labels": {LABEL: "1"},
    }
    reference, _ = await engine.create("", document)
    await engine.start(reference)
    assert await exit_status(engine, reference) == 142
    said = await engine.output(reference, 5)
    assert said == "entrypoint requires the handler name to be the first argument\n"


async def test_a_missing_bootstrap_ends_the_container(images: RuntimeImages, engine: Engine) -> None:
    """With the status and the text that say what is wrong."""
    name = await images.standalone("provided.al2023", print)
    reference, _ = await engine.create("", {"Image": name, "Cmd": ["f.h"], "Labels": {LABEL: "1"}})
    await engine.start(reference)
    assert await exit_status(engine, reference) == 127
    assert "bootstrap, is not there" in await engine.output(reference, 5)


async def test_the_emulator_in_a_foreign_image(
    images: RuntimeImages, engine: Engine, run: Run, tmp_path: Path
) -> None:
    """Mounted as AWS documents it for its own emulator; the image knows nothing of it."""
    bundle = await images.exported(tmp_path, print)
    name = await images.ensure("provided.al2023", print)
    (tmp_path / "run").write_text(SHELL)
    (tmp_path / "run").chmod(0o755)
    container = await run(
        name,
        mounts=[bind(bundle, "/aws-lambda"), bind(tmp_path / "run", "/run.sh")],
        Entrypoint=["/aws-lambda/aws-lambda-rie"],
        Cmd=["/bin/bash", "/run.sh", "my.handler"],
    )
    assert (await container.post({"a": 1})).value == {"handler": "my.handler", "event": {"a": 1}}


# Beside AWS's emulator


def aws_emulator() -> Path:
    """Where `make bench` keeps it."""
    machine = {"aarch64": "arm64"}.get(platform.machine(), platform.machine())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "berth-benchmarks"
    return Path(os.environ.get("BERTH_BENCH_CACHE") or cache) / f"aws-lambda-rie-{machine}"


@pytest.fixture(params=["ours", "AWS's"])
async def emulated(request: Any, image: Any, run: Run) -> Container:
    """The Python function, under either emulator at the place where images have it."""
    mounts = []
    if request.param == "AWS's":
        if not aws_emulator().exists():
            pytest.skip("AWS's emulator is not here (`make bench` fetches it)")
        mounts = [bind(aws_emulator(), "/var/rapid/bin/aws-lambda-rie")]
    env = ["AWS_LAMBDA_FUNCTION_TIMEOUT=1", "WRAPPED=no"]
    container: Container = await run(await image("python3.11"), mounts=mounts, Env=env)
    return container


async def test_both_emulators_answer_alike(emulated: Container) -> None:
    """What tests of functions look at: results, errors, crashes, timeouts, and that the next invocation is served."""
    assert (await emulated.post({"a": [1, None]})).value == {"a": [1, None]}
    failed = (await emulated.post({"fail": "no"})).value
    assert (failed["errorType"], failed["errorMessage"]) == ("ValueError", "no")
    left = (await emulated.post({"leave": 3})).value
    assert left["errorType"] == "Runtime.ExitError"
    assert left["errorMessage"].endswith("Error: Runtime exited with error: exit status 3")
    assert b"Task timed out after 1.00 seconds" in (await emulated.post({"wait": 5})).body
    assert (await emulated.post({"who": 1})).value == [0, "test_function", "no", "3008"]
    assert (await emulated.stop()) == 0
    log = await emulated.log()
    for line in ("START RequestId: ", "END RequestId: ", "REPORT RequestId: ", "[ERROR] ValueError: no"):
        assert line in log
