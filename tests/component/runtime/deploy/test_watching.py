"""Changes of real files; looks are driven by the test, so nothing waits."""

import os
from collections.abc import Callable
from pathlib import Path

from runtime.deploy.watching import PAUSE, look, next_change


class Script:
    """Does one thing in each pause between two looks."""

    def __init__(self, *steps: Callable[[], object]) -> None:
        self.steps = list(steps)

    def __call__(self, seconds: float) -> None:
        assert seconds == PAUSE
        self.steps.pop(0)()


def nothing() -> None:
    pass


def test_changes_are_seen_when_they_have_come_to_rest(tmp_path: Path) -> None:
    """New, changed, removed and newly executable files, in one go, however many looks they take."""
    code, template = tmp_path / "code", tmp_path / "template.yaml"
    code.mkdir()
    for name in ("changed", "removed", "mode", "same"):
        (code / name).write_text("1")
    before = look([template, code])
    script = Script(
        nothing,
        lambda: (code / "changed").write_text("22"),
        (code / "removed").unlink,
        lambda: (code / "mode").chmod(0o700),
        lambda: template.write_text("new"),
        nothing,
    )
    changed = next_change([template, code], before, script)
    assert changed == [code / "changed", code / "mode", code / "removed", template]
    assert script.steps == []


def test_a_change_that_is_taken_back_is_none(tmp_path: Path) -> None:
    """What is as before is waited through."""
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("1")
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    before = look([tmp_path])

    def back() -> None:
        file.write_text("1")
        os.utime(file, ns=times)

    script = Script(lambda: file.write_text("22"), back, nothing, lambda: other.write_text("x"), nothing)
    assert next_change([tmp_path], before, script) == [other]


def test_what_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    """Missing paths and rings of links do not end the watch; what comes into being is a change."""
    (tmp_path / "ring").mkdir()
    (tmp_path / "ring/me").symlink_to(".")
    missing = tmp_path / "code"
    before = look([missing, tmp_path / "ring"])
    assert before[missing] is None
    script = Script(missing.mkdir, (missing / "app.py").touch, nothing)
    assert next_change([missing], {missing: None}, script) == [missing / "app.py"]
