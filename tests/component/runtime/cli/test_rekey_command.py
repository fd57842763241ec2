"""`berth rekey`: the key of functions' variables is changed, now or when Berth starts next."""

from pathlib import Path
from typing import Any

from runtime.instance import acquire
from runtime.store.vault import KEY_NAME, next_key


def test_without_a_key_there_is_nothing_to_change(run: Any, tmp_path: Path) -> None:
    """One is made when Berth first starts."""
    code, _, err = run("rekey", "--data-dir", str(tmp_path / "data"))
    assert (code, "there is no key at" in err) == (2, True)
    assert not (tmp_path / "data").exists()


def test_the_key_is_changed_at_once_where_no_berth_runs(run: Any, tmp_path: Path) -> None:
    """Also one that lies elsewhere."""
    for key, flags in (
        (tmp_path / "data/store" / KEY_NAME, ()),
        (tmp_path / "mine.key", ("--key-file", str(tmp_path / "mine.key"))),
    ):
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
        key.chmod(0o600)
        former = key.read_bytes()
        code, out, err = run("rekey", "--data-dir", str(tmp_path / "data"), *flags)
        assert (code, out) == (0, f"environment variables are encrypted with another key now: {key}\n"), err
        assert key.read_bytes() != former
        assert not next_key(key).exists()


def test_a_running_berth_changes_it_when_it_starts_next(run: Any, tmp_path: Path) -> None:
    """The next key waits; a second command makes no other."""
    key = tmp_path / "data/store" / KEY_NAME
    key.parent.mkdir(parents=True)
    key.write_text("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    key.chmod(0o600)
    with acquire(tmp_path / "data"):
        for _ in range(2):
            code, out, _ = run("rekey", "--data-dir", str(tmp_path / "data"))
            assert (code, out) == (
                0,
                f"a next key is at {next_key(key)}; it takes its place when Berth starts next\n",
            )
            waiting = next_key(key).read_bytes()
    run("rekey", "--data-dir", str(tmp_path / "data"))
    assert key.read_bytes() == waiting


def test_a_next_key_that_is_none_is_refused(run: Any, tmp_path: Path) -> None:
    """Before anything is opened."""
    key = tmp_path / "data/store" / KEY_NAME
    key.parent.mkdir(parents=True)
    key.write_text("QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=")
    next_key(key).write_text("nothing")
    code, _, err = run("rekey", "--data-dir", str(tmp_path / "data"))
    assert (code, "does not hold a key" in err) == (2, True)
