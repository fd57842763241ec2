"""What images there are and what each is made of: rows read from `images/`, from which `runtime.images` builds."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from runtime.spawners.base import SpawnerError

BUNDLE = "rapid"
"""The bundle's name among the images; those for single processors are `rapid-amd64` and `rapid-arm64`."""
PROCESSORS = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
"""What processors are called, by machines, by Lambda and by engines → by Debian and by engines."""
TRIPLES = {"amd64": "x86_64-linux-gnu", "arm64": "aarch64-linux-gnu"}
"""What GNU's compilers for a processor are called."""
STANDALONE = "standalone"
AWS_IMAGES = "public.ecr.aws/lambda"
"""Where AWS publishes its base images."""


class UnknownRuntime(SpawnerError):
    """No image can be had for this runtime identifier, or for this processor."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """A row of `images/runtimes.yaml`."""

    identifier: str
    context: str = ""
    suite: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    compiled: bool = False
    """Whether something in it is compiled, which the engine's own processor does for another one too."""
    nearest: str | None = None
    """The runtime whose image may stand in for its own."""
    processor: str | None = None
    """What it is built for, where that is not the engine's own processor."""

    @property
    def is_built(self) -> bool:
        """Whether Berth has an image of its own for it."""
        return bool(self.context)


def processor_of(machine: str) -> str:
    """As engines name it. Raises `UnknownRuntime` for one that Lambda has not."""
    try:
        return PROCESSORS[machine]
    except KeyError:
        known = ", ".join(sorted(set(PROCESSORS.values())))
        raise UnknownRuntime(f"there is nothing for the processor {machine}; there are {known}") from None


def image_sources() -> Path:
    """`images/` of the repository, or its copy inside an installed package."""
    here = Path(__file__).resolve().parent
    packaged = here / "_images"
    return packaged if packaged.is_dir() else here.parent / "images"


def read_table(sources: Path) -> dict[str, Runtime]:
    """The runtimes by identifier, those without an image of our own included."""
    rows = yaml.safe_load((sources / "runtimes.yaml").read_text())
    return {identifier: Runtime(identifier=identifier, **row) for identifier, row in rows.items()}


def read_bundle(sources: Path) -> dict[str, Runtime]:
    """The bundle's rows, one for each processor."""
    row = yaml.safe_load((sources / "bundle" / "bundle.yaml").read_text())
    return {
        f"{BUNDLE}-{processor}": Runtime(
            identifier=f"{BUNDLE}-{processor}",
            context="bundle",
            suite=row["suite"],
            arguments={"PACKAGES": row["packages"], "ARCHITECTURE": processor},
        )
        for processor in sorted(set(PROCESSORS.values()))
    }


def standalone_row(runtime: Runtime, image: str, bundle: str) -> Runtime:
    """What people's Dockerfiles start from: a runtime's image, with the bundle in it."""
    node = re.fullmatch(r"nodejs(\d+)\.x(-.+)?", runtime.identifier)
    paths = (f"/opt/nodejs/node{node[1]}/node_modules", "/opt/nodejs/node_modules") if node else ()
    own = ("/var/runtime/node_modules", "/var/runtime", "/var/task") if node else ()
    return Runtime(
        identifier=f"{STANDALONE}-{runtime.identifier}",
        context=STANDALONE,
        suite=runtime.suite,
        arguments={
            "IMAGE": image,
            "BUNDLE": bundle,
            "FAMILY": runtime.context,
            "TOOLS": runtime.arguments.get("TOOLS", ""),
            "SEARCH": ":".join((*paths, *own)),
            "EXECUTION": ""
            if runtime.context == "provided"
            else f"AWS_Lambda_{runtime.identifier.partition('-')[0]}",
        },
        processor=runtime.processor,
    )


def public_name(runtime: str) -> str:
    """What AWS calls the base image of a runtime: `python:3.11`, `nodejs:22`, `provided:al2023`."""
    family, version = re.fullmatch(r"([a-z]+)\.?(.*?)(?:\.x)?", runtime).groups()  # type: ignore[union-attr]
    return f"{family}:{version}"


def aws_reference(runtime: str, processor: str | None = None) -> str:
    """AWS's base image of a runtime; for a processor that is not the engine's own, under the name that is that one's alone."""
    machine = {"amd64": "-x86_64", "arm64": "-arm64", None: ""}[processor]
    return f"{AWS_IMAGES}/{public_name(runtime)}{machine}"
