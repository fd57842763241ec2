"""Directory trees as values: read one, lay one over another.

How layers share `/opt`: path by path, what comes later wins. Two directories of one name become one; everything else
of that name is replaced, so that a file over a directory removes all that was in it, and a directory over a link
stands in the link's place rather than being filled through it.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Leaf:
    """A file or a symbolic link, by where it is now."""

    path: str


@dataclass(frozen=True, slots=True)
class Folder:
    mtime: int
    children: "dict[str, Folder | Leaf]" = field(default_factory=dict)


def read_folder(path: Path | str) -> Folder:
    """A directory with all that is in it, in the order of names; links are leaves, wherever they lead."""
    with os.scandir(path) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    children: dict[str, Folder | Leaf] = {
        entry.name: read_folder(entry.path) if entry.is_dir(follow_symlinks=False) else Leaf(entry.path)
        for entry in entries
    }
    return Folder(int(os.lstat(path).st_mtime), children)


def overlay(lower: Folder, upper: Folder) -> Folder:
    """`upper` over `lower`; neither is changed."""
    children = dict(lower.children)
    for name, above in upper.children.items():
        below = children.get(name)
        if isinstance(above, Folder) and isinstance(below, Folder):
            above = overlay(below, above)  # noqa: PLW2901 - what is above now includes what is below
        children[name] = above
    return Folder(upper.mtime, children)
