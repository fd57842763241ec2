"""The documentation says what the code does, as far as a test can tell."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("**/*.md"), *(ROOT / "examples").glob("**/*.md")])


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_parts_are_up_to_date() -> None:
    """Tables that follow from the code are what the code says (`make docs` writes them)."""
    assert generator().outdated() == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Relative links name files that exist."""
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize(
    "target", re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
)
def test_make_targets_exist(target: tuple[str, str]) -> None:
    """Every make target that the README names is one."""
    assert re.search(rf"^{''.join(target)}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    "script", sorted((ROOT / "examples").glob("*/run")), ids=lambda script: script.parent.name
)
def test_examples_are_run_and_explained(script: Path) -> None:
    """Each folder with a script has a test that runs it, a few lines about it, and a place in the list."""
    name = script.parent.name
    tests = (ROOT / "tests" / "integration" / "test_examples.py").read_text()
    assert f"def test_{name.replace('-', '_')}(" in tests
    assert (script.parent / "README.md").is_file()
    assert f"({name}/README.md)" in (ROOT / "examples" / "README.md").read_text()
