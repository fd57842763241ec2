"""Functions whose code is a directory of the host, from the save to the answer, with real runtimes."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.helpers.languages import NODE, PYTHON, Language
from tests.integration.conftest import Berth

ANSWERS = {
    PYTHON: 'def handler(event, context):\n    return ["{}"]\n',
    NODE: 'exports.handler = async () => ["{}"];\n',
}
BROKEN = {PYTHON: "def handler(:\n", NODE: "exports.handler = {{\n"}


@dataclass(frozen=True)
class Way:
    """A spawner, how code gets into its sandboxes, and a language."""

    spawner: str
    delivery: str
    language: Language

    def __str__(self) -> str:
        return f"{self.spawner}-{self.delivery}-{self.language}"


BIND, BIND_NODE = Way("docker", "bind", PYTHON), Way("docker", "bind", NODE)
COPY, PROCESS = Way("docker", "copy", PYTHON), Way("process", "bind", PYTHON)
WAYS = [
    *(pytest.param(way, marks=pytest.mark.docker, id=str(way)) for way in (BIND, BIND_NODE, COPY)),
    pytest.param(PROCESS, id=str(PROCESS)),
]


class Project:
    """A function, its directory, and the control plane that runs it."""

    def __init__(self, berth: Berth, way: Way, folder: Path) -> None:
        self.berth, self.way = berth, way
        self.code = folder
        self.code.mkdir()
        self.file = self.code / way.language.file
        self.name = ""

    def write(self, answer: str) -> None:
        self.file.write_text(ANSWERS[self.way.language].format(answer))

    def deploy(self, name: str, **options: Any) -> None:
        self.name = name
        code = {"S3Bucket": "hot-reload", "S3Key": str(self.code)}
        runtime = self.way.language.runtime
        self.berth.deploy(name, b"", **{"Code": code, "Runtime": runtime, **options})

    def answer(self, **options: Any) -> Any:
        """What the function says, or the type of its error."""
        given = self.berth.invoke(self.name, **options)
        return given.payload["errorType"] if given.error else given.payload[0]

    def sandboxes(self) -> set[str]:
        return {each["environment"] for each in self.berth.environments(self.name)}


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    found: Way = request.param
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where code may lie."""
    return tmp_path_factory.mktemp("host")


@pytest.fixture(scope="module")
def berth(way: Way, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    settings = ("--hot-reload", str(root), "--delivery", way.delivery)
    started = Berth(tmp_path_factory.mktemp("berth") / "data", way.spawner, settings, way.language)
    started.start()
    yield started
    started.stop()


@pytest.fixture
def project(berth: Berth, way: Way, root: Path, name: str) -> Iterator[Project]:
    made = Project(berth, way, root / name)
    yield made
    if made.name:
        berth.client.delete_function(FunctionName=name)


def test_every_save_is_live(project: Project, name: str) -> None:
    """A file is written and the function at once invoked, again and again: never is it what was there before."""
    project.write("0")
    project.deploy(name)
    for number in range(10):
        project.write(str(number))
        assert project.answer() == str(number)
    if project.way.delivery == "bind":
        assert len(project.sandboxes()) == 1


def test_code_that_is_broken_and_mended(project: Project, name: str) -> None:
    """The error comes with the next invocation, and goes with the one after it is mended."""
    project.write("good")
    project.deploy(name)
    assert project.answer() == "good"
    project.file.write_text(BROKEN[project.way.language])
    assert project.answer() == "Runtime.UserCodeSyntaxError"
    project.write("mended")
    assert project.answer() == "mended"


def test_ways_of_saving(project: Project, name: str) -> None:
    """By renaming a new file over the old one, by removing and writing anew, in a folder that is new."""
    project.write("first")
    project.deploy(name)
    assert project.answer() == "first"
    old = project.file.read_text()
    (project.code / "new").write_text(old.replace("first", "renamed"))
    (project.code / "new").rename(project.file)
    assert project.answer() == "renamed"
    project.file.unlink()
    assert project.answer() == "Runtime.ImportModuleError"
    project.write("anew")
    assert project.answer() == "anew"


def test_directory_that_is_replaced(project: Project, name: str) -> None:
    """As by a build that makes its output anew."""
    project.write("old")
    project.deploy(name)
    assert project.answer() == "old"
    shutil.rmtree(project.code)
    with pytest.raises(ClientError, match="No such file or directory"):
        project.answer()
    project.code.mkdir()
    project.write("new")
    assert project.answer() == "new"


def test_versions_are_snapshots(project: Project, name: str) -> None:
    """What is published stays as it was; publishing again without a change gives the same version."""
    project.write("one")
    project.deploy(name)
    client = project.berth.client
    assert client.publish_version(FunctionName=name)["Version"] == "1"
    assert client.publish_version(FunctionName=name)["Version"] == "1"
    project.write("two")
    assert client.publish_version(FunctionName=name)["Version"] == "2"
    project.write("three")
    assert project.answer(Qualifier="1") == "one"
    assert project.answer(Qualifier="2") == "two"
    assert project.answer() == "three"


def test_layers(project: Project, name: str) -> None:
    """A layer that is a directory too, alone and among others."""
    if project.way.language is not PYTHON:
        pytest.skip("a layer is a layer")
    layer = project.code.parent / f"{name}-layer"
    (layer / "python").mkdir(parents=True)
    (layer / "python" / "shared.py").write_text("NAME = 'one'")
    project.file.write_text("import shared\n\ndef handler(event, context):\n    return [shared.NAME]\n")
    client = project.berth.client
    content = {"S3Bucket": "hot-reload", "S3Key": str(layer)}
    live = client.publish_layer_version(LayerName=f"{name}-live", Content=content)["LayerVersionArn"]
    fixed = client.publish_layer_version(LayerName=f"{name}-fixed", Content=content)["LayerVersionArn"]
    project.deploy(name, Layers=[live])
    for number in range(3):
        (layer / "python" / "shared.py").write_text(f"NAME = 'alone {number}'")
        assert project.answer() == f"alone {number}"
    client.update_function_configuration(FunctionName=name, Layers=[fixed, live])
    client.get_waiter("function_updated_v2").wait(FunctionName=name)
    for number in range(3):
        (layer / "python" / "shared.py").write_text(f"NAME = 'among others {number}'")
        assert project.answer() == f"among others {number}"
