from pathlib import Path

import pytest

from rapid.memory import free_memory

MB = 1 << 20


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "meminfo"
    path.write_text(f"MemTotal: 16000000 kB\nMemAvailable:   {800 * 1024} kB\n")
    return path


def test_the_machine_s_where_there_is_no_limit(tmp_path: Path, machine: Path) -> None:
    """No control group tells, or one without a limit."""
    assert free_memory(tmp_path, machine) == 800 * MB
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1\n")
    (tmp_path / "memory.stat").write_text("anon 1\n")
    assert free_memory(tmp_path, machine) == 800 * MB


@pytest.mark.parametrize(
    "names",
    [
        ("memory.max", "memory.current", "memory.stat", "inactive_file"),
        (
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ],
    ids=["version 2", "version 1"],
)
def test_what_a_limit_leaves(tmp_path: Path, machine: Path, names: tuple[str, str, str, str]) -> None:
    """Files that the kernel would let go of do not count as taken."""
    limit, taken, stat, files = names
    for name, text in ((limit, str(512 * MB)), (taken, str(300 * MB)), (stat, f"{files} {100 * MB}\n")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert free_memory(tmp_path, machine) == 312 * MB


def test_nobody_tells(tmp_path: Path) -> None:
    """Then it is not what decides."""
    assert free_memory(tmp_path, tmp_path / "nothing") > 1 << 50
