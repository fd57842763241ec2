"""What an environment is told to run, for packages and for container images."""

from dataclasses import replace
from typing import Any

import pytest

from rapid.exchange import Program
from runtime.briefing import Outside, lifecycle_settings, program
from runtime.image_facts import Image
from runtime.model import (
    Code,
    FunctionConfig,
    FunctionVersion,
    ImageCode,
    ImageConfig,
    ManagedInstances,
    Scope,
)
from runtime.spawners.base import Layout
from runtime.variables import Credentials

OUTSIDE = Outside(
    api="172.18.0.1:4001", credentials=Credentials("id", "secret", "token"), endpoints={"A": "platform"}
)
IMAGE = Image(
    identifier="sha256:1",
    system="linux",
    architecture="x86_64",
    size=1,
    entry_point=("/entry", "one"),
    command=("command", "two"),
    environment={"A": "image", "B": "image"},
    working_directory="/app",
)


def version(code: Code | ImageCode, **config: Any) -> FunctionVersion:
    return FunctionVersion(
        scope=Scope("123456789012", "eu-central-1"),
        name="f",
        config=FunctionConfig(role="r", **config),
        code=code,
        revision_id="r",
        last_modified="",
    )


def of_image(config: ImageConfig | None = None, image: Image = IMAGE) -> Program:
    made = version(ImageCode("app", "0" * 64, "sha256:1"), package_type="Image", image_config=config)
    return program(made, Layout(), "stream", OUTSIDE, image=image)


def test_an_image_says_what_runs() -> None:
    """Entry point and command, one after the other, where the image wants them to run."""
    made = of_image()
    assert made.argv == ["/entry", "one", "command", "two"]
    assert (made.cwd, made.env["PWD"], made.opt) == ("/app", "/app", "/opt")
    assert (made.env["A"], made.env["B"]) == ("image", "image")


@pytest.mark.parametrize(
    ("config", "argv", "cwd"),
    [
        (ImageConfig(entry_point=("/mine",)), ["/mine", "command", "two"], "/app"),
        (ImageConfig(command=("mine",)), ["/entry", "one", "mine"], "/app"),
        (ImageConfig(working_directory="/mine"), ["/entry", "one", "command", "two"], "/mine"),
        (ImageConfig(("/mine",), ("x",), "/"), ["/mine", "x"], "/"),
    ],
)
def test_a_function_says_it_instead(config: ImageConfig, argv: list[str], cwd: str) -> None:
    """Each part takes the place of the image's by itself; unlike with an engine, where another entry point drops the command."""
    made = of_image(config)
    assert (made.argv, made.cwd) == (argv, cwd)


def test_an_image_that_says_nothing() -> None:
    """Then a bootstrap is looked for where custom runtimes have it, and it runs in the root."""
    made = of_image(image=Image(identifier="sha256:1", system="linux", architecture="x86_64", size=1))
    assert made.argv == [":/var/task/bootstrap:/opt/bootstrap:/var/runtime/bootstrap"]
    assert made.cwd == "/"


def test_extensions_of_an_image() -> None:
    """They see what the image sets, without what is meant for the runtime."""
    made = of_image()
    assert made.extension_env["B"] == "image"
    assert "AWS_LAMBDA_LOG_GROUP_NAME" not in made.extension_env


def test_a_package_runs_the_bootstrap_of_its_runtime() -> None:
    """In the directory that its code is in."""
    made = program(
        version(Code("0" * 64, 1, 1), runtime="python3.11", handler="a.b"), Layout(), "stream", OUTSIDE
    )
    assert (made.argv, made.cwd) == (["/var/runtime/bootstrap"], "/var/task")


def test_an_image_has_no_runtime_version() -> None:
    """Its runtime is its own affair."""
    image = version(ImageCode("app", "0" * 64, "sha256:1"), package_type="Image")
    settings = lifecycle_settings(image, "on-demand", timeouts=True)
    assert (settings.runtime_version, settings.runtime_version_arn) == ("", "")


def test_open_files() -> None:
    """Four times as many on managed instances."""
    ordinary = version(Code("0" * 64, 1, 1), handler="app.handler", runtime="python3.13")
    managed = replace(ordinary, config=replace(ordinary.config, managed=ManagedInstances("arn")))
    made = [program(each, Layout(), "stream", OUTSIDE) for each in (ordinary, managed)]
    assert [each.files for each in made] == [1024, 4096]
