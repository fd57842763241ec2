from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.model import (
    LATEST,
    Alias,
    Code,
    FunctionConfig,
    FunctionVersion,
    LayerReference,
    LayerVersion,
    Scope,
)

FunctionMaker = Callable[..., FunctionVersion]
AliasMaker = Callable[..., Alias]
LayerMaker = Callable[..., LayerVersion]

SCOPE = Scope("123456789012", "us-east-1")


@pytest.fixture
def scope() -> Scope:
    return SCOPE


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def function() -> FunctionMaker:
    """Makes a function version from what matters to a test."""

    def make(
        name: str = "f",
        *,
        version: str = LATEST,
        revision: str = "r1",
        digest: str = "0" * 64,
        layers: tuple[str, ...] = (),
        scope: Scope = SCOPE,
    ) -> FunctionVersion:
        references = tuple(LayerReference(f"arn:{digest}", Code(digest, 1, 1)) for digest in layers)
        return FunctionVersion(
            scope=scope,
            name=name,
            version=version,
            config=FunctionConfig(role="r", environment={"SECRET": "hush"}, layers=references),
            code=Code(digest, 1, 1),
            revision_id=revision,
            last_modified="2024-01-01T00:00:00.000+0000",
        )

    return make


@pytest.fixture
def layer() -> LayerMaker:
    """Makes a draft of a layer version."""

    def make(name: str = "l", *, digest: str = "0" * 64, scope: Scope = SCOPE) -> LayerVersion:
        return LayerVersion(scope=scope, name=name, number=0, code=Code(digest, 1, 1), created="")

    return make


@pytest.fixture
def alias() -> AliasMaker:
    """Makes an alias of the function `f`."""

    def make(name: str = "live", version: str = "1", *, revision: str = "a1", **weights: float) -> Alias:
        named = {number.removeprefix("v"): weight for number, weight in weights.items()}
        return Alias(
            scope=SCOPE, function="f", name=name, version=version, weights=named, revision_id=revision
        )

    return make
