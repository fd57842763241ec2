"""`berth images`, against an engine that behaves."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.cli import main

Berth = Callable[..., tuple[int, str, str]]


@pytest.fixture
def berth(fake_engine: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Berth:
    fake_engine.add_image("debian:bookworm-slim")

    def run(verb: str, *arguments: str) -> tuple[int, str, str]:
        where = ["--docker-host", fake_engine.url, "--data-dir", str(tmp_path)]
        code = main(["images", verb, *arguments, *where])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_building_says_what_came_of_it(berth: Berth, fake_engine: Any) -> None:
    """The image on stdout, the builder's words on stderr; of several each line says whose it is."""
    code, out, err = berth("build", "python3.11", "provided.al2023")
    assert code == 0
    assert [line.partition(":")[0] for line in sorted(out.splitlines())] == ["provided.al2023", "python3.11"]
    assert all(f": berth/{line.partition(':')[0]}:" in line for line in out.splitlines())
    assert "python3.11: building berth/python3.11:" in err
    assert len(fake_engine.builds) == 2


def test_what_is_there_is_not_built_again(berth: Berth, fake_engine: Any) -> None:
    """Unless it is asked for."""
    for options in ([], [], ["--fresh"]):
        assert berth("build", "python3.11", *options)[0] == 0
    assert [build["nocache"] for build in fake_engine.builds] == ["False", "True"]


def test_one_that_cannot_be_had_holds_up_no_other(berth: Berth) -> None:
    """Its text is in the answer, and the exit code says that something is missing."""
    code, out, err = berth("build", "java21", "python3.11", "--json")
    java, python = json.loads(out)
    assert (code, java["runtime"], java["image"]) == (1, "java21", None)
    assert "cannot be pulled" in java["error"]
    assert (python["error"], python["image"].partition(":")[0]) == (None, "berth/python3.11")
    assert f"java21: {java['error']}" in err


def test_an_error_does_not_repeat_what_was_told(berth: Berth, fake_engine: Any) -> None:
    """The builder's lines have been seen as they came; for machines the error is whole."""
    fake_engine.build_steps = [{"stream": "no space left\n"}, {"error": "code 1"}]
    code, out, err = berth("build", "python3.11", "--json")
    assert (code, err.count("no space left"), err.count("failed: code 1")) == (1, 1, 1)
    assert json.loads(out)[0]["error"].endswith("failed: code 1\nno space left")


def test_all_are_berth_s_own(berth: Berth, fake_engine: Any) -> None:
    """Nothing is pulled for that but bases."""
    fake_engine.registry |= {f"debian:{suite}-slim" for suite in ("bullseye", "trixie", "forky")}
    code, out, _ = berth("build", "--all", "--json")
    assert code == 0
    assert [each["runtime"] for each in json.loads(out)] == [
        "python3.9", "python3.11", "python3.13", "python3.14", "nodejs18.x", "nodejs20.x", "nodejs22.x", "nodejs24.x",
        "provided.al2", "provided.al2023",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["build"], "name runtimes: python3.9, "),
        (["build", "python3.11", "perl5"], "there is no runtime perl5; there are python3.8, "),
        (["list", "--runtime-images", "perl5=x"], "there is no runtime perl5; there are python3.8, "),
        (["list", "--runtime-images", "x"], "--runtime-images: 'x' is not own or aws, and pairs such as "),
    ],
)
def test_misuse_is_one_line(berth: Berth, fake_engine: Any, arguments: list[str], line: str) -> None:
    """And costs no build."""
    code, out, err = berth(*arguments)
    assert (code, out, fake_engine.builds) == (2, "", [])
    assert err.startswith(f"berth: {line}")


def test_a_stand_in_is_said(berth: Berth, fake_engine: Any) -> None:
    """Whoever builds ahead has to know what he will get."""
    fake_engine.add_image("debian:trixie-slim")
    code, out, _ = berth("build", "python3.12", "--nearest-runtime", "--json")
    [had] = json.loads(out)
    assert (code, had["stand_in"], had["image"].partition(":")[0]) == (0, "python3.13", "berth/python3.13")


def test_a_list_of_all_runtimes(berth: Berth, fake_engine: Any) -> None:
    """From where the image comes, and whether it is there."""
    berth("build", "python3.11")
    fake_engine.add_image("mine:1", Size=5 << 20)
    code, out, _ = berth("list", "--runtime-images", "own,java21=mine:1", "--nearest-runtime", "--json")
    rows = {each.pop("runtime"): each for each in json.loads(out)}
    assert code == 0
    assert rows["python3.11"]["size"] is not None
    assert rows["python3.9"]["size"] is None
    assert rows["java21"] == {"source": "custom", "image": "mine:1", "size": 5 << 20, "stand_in": None}
    assert rows["python3.12"] == {
        "source": "aws", "image": "public.ecr.aws/lambda/python:3.12", "size": None, "stand_in": "python3.13",
    }  # fmt: skip
    table = berth("list")[1].splitlines()
    assert table[0].split() == ["RUNTIME", "SOURCE", "IMAGE", "SIZE", "ELSE", "BY"]
    assert len(table) == len(rows) + 1


def test_pruning_says_what_has_gone(berth: Berth, fake_engine: Any) -> None:
    """Nothing to remove is fine."""
    fake_engine.add_image("berth/python3.11:old", {"berth.image": "python3.11"})
    assert berth("prune")[:2] == (0, "berth/python3.11:old\n")
    assert berth("prune", "--json")[:2] == (0, "[]\n")


def test_images_for_dockerfiles(berth: Berth, fake_engine: Any) -> None:
    """Under AWS's names."""
    code, out, _ = berth("standalone", "python3.11")
    assert (code, out.partition(",")[0]) == (0, "python3.11: berth/python:3.11")
    assert "berth/python:3.11" in fake_engine.images


def test_the_bundle(berth: Berth) -> None:
    """For one processor or the other."""
    code, out, _ = berth("bundle", "--architecture", "arm64", "--json")
    assert (code, json.loads(out)["image"].partition(":")[0]) == (0, "berth/rapid-arm64")


def test_without_an_engine(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One line that says what to do."""
    assert main(["images", "list", "--docker-host", f"unix://{tmp_path}/none"]) == 2
    assert capsys.readouterr().err.startswith("berth: no container engine can be reached")
