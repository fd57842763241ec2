"""Who may import whom: the rules of docs/architecture.md, kept by reading the sources."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rapid.agent import FILES

ROOT = Path(__file__).parents[2]
SOURCES = sorted([*ROOT.glob("rapid/**/*.py"), *ROOT.glob("runtime/**/*.py")])
PURE = [
    *(
        ROOT / "rapid" / f"{name}.py"
        for name in (
            *(
                "states",
                "condition",
                "endings",
                "lifecycle",
                "concurrent_lifecycle",
                "events",
                "extensions",
                "farewell",
                "initialisation",
                "progress",
                "story",
            ),
            *("settings", "invocation", "records", "platform_events", "log_format", "buffering", "errors"),
            *("error_causes", "log_frames", "plain_requests", "plain_text", "trailers", "values"),
        )
    ),
    *(ROOT / "rapid" / f"{name}.py" for name in ("subscriptions", "batches", "telemetry_events")),
    *sorted(ROOT.glob("runtime/core/*.py")),
    *(
        ROOT / "runtime" / "deploy" / f"{name}.py"
        for name in (
            *("attributes", "differences", "documents", "errors", "globals", "intrinsics", "kinds", "order"),
            *("placeholders", "plan", "properties", "report", "settings", "template", "wanted"),
        )
    ),
    ROOT / "rapid" / "event_stream.py",
    ROOT / "runtime" / "image_choice.py",
    ROOT / "runtime" / "model.py",
    ROOT / "runtime" / "names.py",
    ROOT / "runtime" / "neighbours.py",
    ROOT / "runtime" / "tenancy.py",
    ROOT / "runtime" / "variables.py",
]
IMPURE = {
    *("aiohttp", "asyncio", "docker", "multiprocessing", "os", "pathlib", "random", "secrets", "selectors"),
    *("shutil", "socket", "sqlite3", "subprocess", "tempfile", "threading", "time", "uuid", "uvloop"),
}


def imports(path: Path) -> Iterator[str]:
    """The full names of the modules that a source imports, nested imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or ""


def tops(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_sources_are_found() -> None:
    """The rules below read something."""
    assert len(SOURCES) > 30
    assert all(path.is_file() for path in PURE)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_rapid_never_imports_runtime(path: Path) -> None:
    """One environment knows nothing of the control plane."""
    if "rapid" in path.relative_to(ROOT).parts:
        assert "runtime" not in tops(path)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_neighbours_have_one_door(path: Path) -> None:
    """The engine's SDK is imported by one module, SQLite by the store alone."""
    if relative(path) != "runtime/spawners/engine.py":
        assert "docker" not in tops(path)
    if not relative(path).startswith("runtime/store/"):
        assert "sqlite3" not in tops(path)


@pytest.mark.parametrize("name", FILES)
def test_the_agent_is_standard_library_only(name: str) -> None:
    """What runs inside a sandbox imports the standard library and its own few files."""
    path = ROOT / "rapid" / name
    mine = {f"rapid.{file.removesuffix('.py')}" for file in FILES}
    foreign = {
        found for found in imports(path) if found.partition(".")[0] not in sys.stdlib_module_names
    } - mine
    assert not foreign


@pytest.mark.parametrize("path", PURE, ids=relative)
def test_pure_modules_do_no_input_or_output(path: Path) -> None:
    """Cores take time and chance as arguments and touch nothing."""
    assert not tops(path) & IMPURE


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_the_environment_is_read_at_its_doors(path: Path) -> None:
    """Settings come from one table; beside it only the engine's, proxies', the agent's and the emulator's variables are."""
    if relative(path) in {
        *("runtime/settings.py", "runtime/spawners/engine.py", "rapid/agent.py", "rapid/__main__.py"),
        "runtime/proxies.py",
        "runtime/cli/attach.py",  # hands all of it on
    }:
        return
    named = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
    assert not named & {"environ", "environb", "getenv"}


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_sql_lives_in_sql_files(path: Path) -> None:
    """Statements are named in .sql files, not written in Python."""
    strings = [
        node.value
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert not [
        text
        for text in strings
        if text.lstrip().upper().startswith(("SELECT ", "INSERT ", "UPDATE ", "DELETE FROM"))
    ]
