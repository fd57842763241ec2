"""Directories of the host that are a function's code as they lie there, and what happens in them.

Each is watched through inotify, folder by folder. The kernel queues the notice of a change before the system call that
makes it returns; so whoever asks here (`refresh`) after a change has been made hears of it, however soon that is. The
notices are also read as they come, for those who want to act ahead of anybody's question.

What is counted for each directory:

    generation   grows with every change of what is in it
    life         grows when the directory itself is another one: deleted, moved away, replaced

Names that are no code (bytecode, repositories, what editors keep beside a file) are not looked at. Symbolic links are
not followed: inside a sandbox they lead somewhere else. Knows nothing of functions and environments.
"""

import asyncio
import errno
import logging
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from inotify_simple import Event, INotify, flags

logger = logging.getLogger(__name__)

MOST_FOLDERS = 20_000
"""Of one directory; each costs the kernel about a kilobyte."""
MOST_EARLY = 10_000
"""Notices of folders that are still being entered, kept for when they are."""

_MASK = (
    flags.MODIFY
    | flags.CLOSE_WRITE  # what is written through a mapping is told of with this one alone
    | flags.ATTRIB
    | flags.CREATE
    | flags.DELETE
    | flags.MOVED_FROM
    | flags.MOVED_TO
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
    | flags.DONT_FOLLOW
    | flags.EXCL_UNLINK
)
_NO_CODE = re.compile(r"__pycache__|\.git|\.hg|\.svn|.*\.sw[opx]|.*~|\.#.*|#.*#|4913|\.DS_Store")
_OVERFLOW = Event(-1, flags.Q_OVERFLOW, 0, "")
_ROOT_GONE = flags.DELETE_SELF | flags.MOVE_SELF | flags.UNMOUNT


class NoDirectory(OSError):
    """A directory that cannot be had; the text says why, and what to do about it."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(slots=True, eq=False)
class _Watched:
    """One directory that is watched. `folders` by watch, each as a path."""

    path: str
    identity: tuple[int, int] = (0, 0)
    folders: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Counts:
    generation: int = 0
    life: int = 0


class Directories:
    """See the module's text. `roots` are the directories below which these may be; none: there are none."""

    def __init__(self, roots: Sequence[Path] = ()) -> None:
        self.roots = tuple(roots)
        self.on_change: Callable[[Collection[str]], None] = _ignore
        #: Told, between others' questions, of directories in which something has changed.
        self._loop = asyncio.get_running_loop()
        self._inotify: INotify | None = None
        #: Once the first is watched.
        self._watched: dict[str, _Watched] = {}
        self._by_watch: dict[int, dict[str, _Watched]] = {}
        #: The directories that a folder is in, by watch and path: they may lie within each other.
        self._counts: dict[str, _Counts] = {}
        #: Outlives the watch, or a number could be given twice.
        self._early: list[Event] | None = None
        #: While a directory is being entered: all notices, because some are about folders that are not known yet.
        self._entering = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Directories [{len(self._watched)} watched]>"

    def allowed(self, path: str) -> str:
        """The directory itself, links resolved. Raises `NoDirectory` for what is none, or below none of the roots."""
        try:
            real = os.path.realpath(path, strict=True)
        except OSError as error:
            raise NoDirectory(f"{path}: {error.strerror}") from None
        if not any(Path(real).is_relative_to(os.path.realpath(root)) for root in self.roots):
            raise NoDirectory(f"{path} is in none of the directories that the setting hot_reload names")
        if not Path(real).is_dir():
            raise NoDirectory(f"{path} is not a directory")
        return real

    async def watch(self, path: str) -> None:
        """Watch a directory, if it is not watched yet. Raises `NoDirectory`."""
        async with self._entering:
            if path in self._watched and self._is_itself(self._watched[path]):
                return
            self._forget(path)
            if self.allowed(path) != path:
                raise NoDirectory(f"{path} has become a symbolic link, or is below one")
            self._early = []
            watched = _Watched(path)
            try:
                await asyncio.to_thread(self._enter, watched)
            except OSError as error:
                self._adopt(watched)
                self._forget(path)
                raise _explained(error, path) from error
            else:
                self._adopt(watched)
            finally:
                early, self._early = self._early, None
                self._hear(early)
                if len(early) >= MOST_EARLY:
                    self._hear([_OVERFLOW])

    def retain(self, paths: Callable[[], Collection[str]]) -> None:
        """Watch no others any more; which ones is only asked where any are watched."""
        if self._watched:
            kept = paths()
            for path in [each for each in self._watched if each not in kept]:
                self._forget(path)

    def refresh(self, paths: Iterable[str]) -> None:
        """Hear of everything that has happened by now, and look whether these directories are where they were."""
        self._listen()
        for path in paths:
            watched = self._watched.get(path)
            if watched is not None and not self._is_itself(watched):
                self._gone(watched)

    def generation(self, paths: Iterable[str]) -> int:
        """Grows when something has changed in any of them."""
        return sum(self._count(path).generation for path in paths)

    def life(self, paths: Iterable[str]) -> int:
        """Grows when any of them has become another directory."""
        return sum(self._count(path).life for path in paths)

    def close(self) -> None:
        if self._inotify is not None:
            self._loop.remove_reader(self._inotify.fileno())
            self._inotify.close()
            self._inotify = None
        self._watched.clear()
        self._by_watch.clear()

    def _count(self, path: str) -> _Counts:
        return self._counts.setdefault(path, _Counts())

    # Watching

    def _enter(self, watched: _Watched) -> None:
        """In a thread."""
        if self._inotify is None:
            self._inotify = INotify(nonblocking=True)
            self._loop.call_soon_threadsafe(self._loop.add_reader, self._inotify.fileno(), self._listen)
        watched.identity = _identity(watched.path)
        self._add_folders(watched, watched.path)

    def _add_folders(self, watched: _Watched, top: str) -> None:
        """A folder is watched first and read then: nothing can come into it in between."""
        assert self._inotify is not None  # noqa: S101
        waiting = [top]
        while waiting:
            folder = waiting.pop()
            if len(watched.folders) >= MOST_FOLDERS:
                raise NoDirectory(f"{watched.path} has more than {MOST_FOLDERS} folders")
            try:
                watched.folders[self._inotify.add_watch(folder, _MASK)] = folder
                with os.scandir(folder) as entries:
                    waiting += [each.path for each in entries if _is_folder(each)]
            except (FileNotFoundError, NotADirectoryError):  # gone while we looked
                if folder == watched.path:
                    raise

    def _adopt(self, watched: _Watched) -> None:
        self._watched[watched.path] = watched
        for number in watched.folders:
            self._by_watch.setdefault(number, {})[watched.path] = watched

    def _forget(self, path: str) -> None:
        watched = self._watched.pop(path, None)
        if watched is not None:
            self._leave(watched, list(watched.folders))

    def _leave(self, watched: _Watched, numbers: Iterable[int]) -> None:
        """Folders are of no interest to the directory any more; their watches end when they are to nobody."""
        for number in numbers:
            watched.folders.pop(number, None)
            others = self._by_watch.get(number, {})
            others.pop(watched.path, None)
            if not others and self._by_watch.pop(number, None) is not None and self._inotify is not None:
                try:
                    self._inotify.rm_watch(number)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # that one has ended by itself
                        raise

    def _is_itself(self, watched: _Watched) -> bool:
        try:
            return _identity(watched.path) == watched.identity
        except OSError:
            return False

    # Notices

    def _listen(self) -> None:
        """Read what there is; never waits."""
        if self._inotify is not None:
            self._hear(self._inotify.read(timeout=0))

    def _hear(self, events: Sequence[Event]) -> None:
        changed: set[str] = set()
        for event in events:
            if event.mask & flags.Q_OVERFLOW:
                changed.update(self._overflowed())
            elif event.mask & flags.IGNORED:
                for watched in self._by_watch.pop(event.wd, {}).values():
                    watched.folders.pop(event.wd, None)
            elif event.wd in self._by_watch:
                changed.update(self._happened(event))
            if self._early is not None and len(self._early) < MOST_EARLY:
                self._early.append(event)
        for path in changed:
            self._count(path).generation += 1
        if changed:
            self.on_change(changed)

    def _happened(self, event: Event) -> Iterable[str]:
        """One notice; the directories that it is news for."""
        if is_no_code(event.name):
            return
        for path, watched in list(self._by_watch[event.wd].items()):
            yield path
            folder = watched.folders[event.wd]
            if folder == path and event.mask & _ROOT_GONE:
                self._gone(watched)
            elif event.mask & flags.ISDIR and event.name:
                self._folder_changed(watched, f"{folder}/{event.name}", event.mask)

    def _folder_changed(self, watched: _Watched, folder: str, mask: int) -> None:
        if mask & (flags.MOVED_FROM | flags.DELETE):
            below = f"{folder}/"
            self._leave(
                watched,
                [
                    number
                    for number, each in watched.folders.items()
                    if each == folder or each.startswith(below)
                ],
            )
        elif mask & (flags.CREATE | flags.MOVED_TO):
            try:
                self._add_folders(watched, folder)
            except OSError as error:
                logger.error("changes in %s go unnoticed: %s", folder, _explained(error, watched.path))  # noqa: TRY400
            self._adopt(watched)

    def _gone(self, watched: _Watched) -> None:
        """The directory is not there any more, or another one is."""
        self._forget(watched.path)
        counts = self._count(watched.path)
        counts.generation += 1
        counts.life += 1
        self.on_change({watched.path})

    def _overflowed(self) -> Iterable[str]:
        """The kernel had more to tell than it keeps: anything may have changed, and folders may be new."""
        logger.warning("too many changes at once in the directories of hot reload; all count as changed")
        for path, watched in list(self._watched.items()):
            yield path
            self._folder_changed(watched, path, flags.CREATE)


def is_no_code(name: str) -> bool:
    """Whether a file or folder of this name makes no difference to what runs."""
    return _NO_CODE.fullmatch(name) is not None


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)  # noqa: PTH116  asked with every invocation
    return status.st_dev, status.st_ino


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    return entry.is_dir(follow_symlinks=False) and not is_no_code(entry.name)


def _explained(error: OSError, path: str) -> NoDirectory:
    if isinstance(error, NoDirectory):
        return error
    if error.errno == errno.ENOSPC:
        return NoDirectory(f"{path} has more folders than may be watched: raise fs.inotify.max_user_watches")
    if error.errno == errno.EMFILE:
        return NoDirectory(f"{path} cannot be watched: raise fs.inotify.max_user_instances")
    return NoDirectory(f"{error.filename or path}: {error.strerror}")


def _ignore(_: Collection[str]) -> None:
    """Nobody wants to act ahead."""
