"""Folders that functions run as they lie there, instead of a package of them: hot reload, while somebody works on them."""

import os
from collections.abc import Mapping
from pathlib import Path

from runtime.deploy.packages import Package, live

_EXAMPLE = "berth up --hot-reload {}"


class LiveFolders:
    """Which folders a running Berth takes as they are, by its settings; and which have been given to it."""

    def __init__(self, settings: Mapping[str, str]) -> None:
        self._bucket = settings.get("hot_reload_bucket", "")
        self._roots = [
            os.path.realpath(each) for each in settings.get("hot_reload", "").split(os.pathsep) if each
        ]
        self.given: set[Path] = set()
        self.packaged: set[Path] = set()
        """Those of which something is made after all."""
        self._refused: set[Path] = set()
        #: Those that it would take if its settings named them.

    def package(self, path: Path) -> Package | None:
        """What is to be sent instead of the folder's content; None where that has to be sent."""
        if not path.is_dir():
            return None
        real = os.path.realpath(path)
        if not any(Path(real).is_relative_to(root) for root in self._roots):
            self._refused.add(path)
            return None
        self.given.add(path)
        return live(self._bucket, real)

    def advice(self) -> str | None:
        """How saves would be live at once, if they are not."""
        if not self._refused:
            return None
        first = min(self._refused)
        return f"saves are live at once with hot reload: {_EXAMPLE.format(os.path.realpath(first))}"
