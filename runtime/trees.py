"""Unpacked trees: zips as directories, layers merged into one `/opt`, trees as tar archives.

Each is made once, aside, and appears whole under the name of its content:

    trees/code/<digest of the zip>            one zip, unpacked
    trees/opt/<digest of the list of layers>  several, merged; files are hard links into the trees above
    trees/…/<name>.tar                        the same tree for delivery by copy
    trees/tmp                                 what is being made, and what is made for one sandbox alone
    trees/trash                               what is being removed
    sandboxes/<name>/{task,opt}               what one sandbox shows that was started before its function was known:
                                              hard links into the trees above, made when it is

Symbolic links are kept with the target that the zip gives, whatever it is, as AWS keeps them: a virtual environment's
`python -> /usr/bin/python3` must go on working. That is safe because no link is ever followed here. Links are created
after everything else, nothing lies below one, and merging and archiving look at links, not through them. A link is
resolved by the function's own processes only, inside their sandbox, where they could name the target without it.

Everything here can be made again from the blobs, so nothing is synchronised to disk. A tree from before the last
boot of the machine may have lost bytes in a power failure; it is thrown away.
"""

import errno
import os
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

from runtime.directories import is_no_code
from runtime.files import TRAVERSABLE, make_directory, naming_full_disk
from runtime.overlay import Folder, Leaf, overlay, read_folder
from runtime.zip_entries import EPOCH, Entry, Kind
from runtime.zips import Archive, open_zip

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NO_LINK = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP})
_OPEN_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Trees:
    """The trees below a data directory. Methods block, and may run in several threads."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir.absolute()  # engines mount absolute paths
        self._root = self._data_dir / "trees"
        self._places = self._data_dir / "sandboxes"

    def code(self, digest: str) -> Path:
        """Where the tree of a zip is, once it is unpacked."""
        return self._root / "code" / digest

    def merged(self, digests: Sequence[str]) -> Path:
        """Where the tree of a list of layers is, once it is merged."""
        return self._root / "opt" / sha256("\n".join(digests).encode()).hexdigest()

    def has(self, tree: Path) -> bool:
        """Whether the tree is one of these, and so never changes."""
        return tree.parent.parent == self._root

    def tar(self, tree: Path) -> Path:
        """Where the archive of a tree is, once it is made."""
        if not self.has(tree):
            raise ValueError(f"Not a tree of this store: {tree}")
        return tree.with_name(f"{tree.name}.tar")

    def unpack(self, digest: str, blob: Path) -> Path:
        def fill(target: Path) -> None:
            with open_zip(blob) as archive:
                _write_archive(archive, target)

        return self._build(self.code(digest), fill)

    def merge(self, digests: Sequence[str]) -> Path:
        """Merge unpacked zips in this order: what comes later wins, path by path."""

        def fill(target: Path) -> None:
            merged = Folder(EPOCH)
            for digest in digests:
                merged = overlay(merged, read_folder(self.code(digest)))
            _write_folder(merged, target)

        return self._build(self.merged(digests), fill)

    def archive(self, tree: Path) -> Path:
        """A tar of one of these trees; the same bytes whenever and wherever it is made."""

        def fill(target: Path) -> None:
            _write_tar(target, read_folder(tree))

        return self._build(self.tar(tree), fill, directory=False)

    def make_place(self, name: str) -> tuple[Path, Path]:
        """Empty directories for one sandbox to show at the task root and at `/opt`, to be filled later."""
        make_directory(self._places, TRAVERSABLE)
        place = self._places / name
        for directory in (place, place / "task", place / "opt"):
            directory.mkdir()
            directory.chmod(0o755)
        return place / "task", place / "opt"

    def fill(self, tree: Path, place: Path) -> None:
        """Let an empty directory show what one of these trees holds. Mounted read-only, it is as good as the tree."""
        with naming_full_disk("a sandbox's files"):
            _write_folder(read_folder(tree), place)

    def remove_place(self, name: str) -> None:
        """Whether it was filled, or made at all, or not."""
        shutil.rmtree(self._places / name, ignore_errors=True)  # what stays is swept at the next start

    def count(self, tree: Path) -> int:
        """How many files and links a tree holds."""
        return sum(len(files) for _, _, files in os.walk(tree))

    def compose(self, trees: Sequence[Path]) -> Path:
        """Merge trees of which some may be anything's, as they are now; to be discarded."""
        merged = Folder(EPOCH)
        for tree in trees:
            merged = overlay(merged, read_folder(tree) if self.has(tree) else _plain(read_folder(tree)))
        return self._aside("opt", lambda target: _copy_folder(merged, target))

    def archive_aside(self, tree: Path) -> Path:
        """A tar of any directory as it is now; to be discarded."""
        return self._aside("tree.tar", lambda target: _write_tar(target, _plain(read_folder(tree))))

    def discard(self, made: Path) -> None:
        """Remove what was made aside."""
        shutil.rmtree(made.parent, ignore_errors=True)  # else it goes with the next sweep

    def _aside(self, name: str, fill: Callable[[Path], object]) -> Path:
        self._prepare()
        with naming_full_disk("a copy of code"):
            aside = Path(tempfile.mkdtemp(dir=self._root / "tmp"))
            aside.chmod(0o755)
            try:
                fill(aside / name)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
        return aside / name

    def sweep(self, digests: Collection[str], layer_lists: Collection[Sequence[str]]) -> None:
        """Put aside what is unfinished, outdated or no longer named. Only while nobody uses trees."""
        self._prepare()
        live = {*digests, *(self.merged(layers).name for layers in layer_lists)}
        mark, boot = self._root / "boot", _boot_id()
        if not boot or not mark.exists() or mark.read_text() != boot:
            live.clear()
        for directory in ("code", "opt", "tmp"):
            for path in (self._root / directory).iterdir():
                if directory == "tmp" or path.name.removesuffix(".tar") not in live:
                    path.rename(self._root / "trash" / uuid4().hex)
        if self._places.exists():
            self._places.rename(self._root / "trash" / uuid4().hex)
        mark.write_text(boot)  # last, or a crash before here would keep what is outdated

    def empty_trash(self, stopped: Callable[[], bool]) -> None:
        """Remove what a sweep has put aside. Takes long after a reboot, so it may run beside everything else."""
        for path in (self._root / "trash").iterdir():
            if stopped():
                return
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)  # what cannot be removed now is tried again next time
            else:
                path.unlink()

    def _prepare(self) -> None:
        for directory in (
            self._data_dir,
            self._root,
            *(self._root / name for name in ("code", "opt", "tmp", "trash")),
        ):
            make_directory(directory, TRAVERSABLE)

    def _build(self, final: Path, fill: Callable[[Path], None], *, directory: bool = True) -> Path:
        """Make something aside and let it appear under its name; if that fails, nothing stays behind."""
        if final.exists():
            return final
        self._prepare()
        with naming_full_disk("an unpacked deployment package"):
            aside = Path(tempfile.mkdtemp(dir=self._root / "tmp"))
            try:
                made = aside / final.name
                if directory:
                    made.mkdir()
                fill(made)
                made.rename(final)
            except OSError:
                if not final.exists():  # else: made by another thread meanwhile, of the same content
                    raise
            finally:
                shutil.rmtree(aside)
        return final


def _boot_id() -> str:
    """Tells one run of the machine from another; empty where the system does not say."""
    return _BOOT_ID.read_text() if _BOOT_ID.exists() else ""


def _write_archive(archive: Archive, target: Path) -> None:
    """Folders, then files, then links, then the folders' times: nothing is ever written through a link."""
    folders = sorted(archive.plan.folders.items())
    for parts, _ in folders:
        target.joinpath(*parts).mkdir()
    for parts, entry in archive.plan.leaves.items():
        if entry.kind is Kind.FILE:
            _write_file(str(target.joinpath(*parts)), entry, archive.content(entry))
    for parts, entry in archive.plan.leaves.items():
        if entry.kind is Kind.LINK:
            _write_link(str(target.joinpath(*parts)), entry, archive.target(entry))
    for parts, mtime in [*reversed(folders), ((), EPOCH)]:
        _finish_folder(target.joinpath(*parts), mtime)


def _write_file(path: str, entry: Entry, content: Iterator[bytes]) -> None:
    with open(os.open(path, _OPEN_NEW, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
        file.writelines(content)
        file.flush()
        os.fchmod(file.fileno(), entry.mode)
        os.utime(file.fileno(), (entry.mtime, entry.mtime))


def _write_link(path: str, entry: Entry, target: bytes) -> None:
    os.symlink(target, os.fsencode(path))  # noqa: PTH211 - byte for byte
    os.utime(path, (entry.mtime, entry.mtime), follow_symlinks=False)


def _write_folder(folder: Folder, target: Path) -> None:
    for name, child in folder.children.items():
        place = target / name
        if isinstance(child, Folder):
            place.mkdir()
            _write_folder(child, place)
        else:
            _share(child, place)
    _finish_folder(target, folder.mtime)


def _plain(folder: Folder) -> Folder:
    """Without what is neither file, folder nor link, and without what is no code."""
    children = {
        name: _plain(child) if isinstance(child, Folder) else child
        for name, child in folder.children.items()
        if not is_no_code(name) and (isinstance(child, Folder) or _is_plain(child))
    }
    return Folder(folder.mtime, children)


def _is_plain(leaf: Leaf) -> bool:
    mode = os.lstat(leaf.path).st_mode
    return stat.S_ISREG(mode) or stat.S_ISLNK(mode)


def _copy_folder(folder: Folder, target: Path) -> None:
    """Without a hard link: what is somebody else's may be written to."""
    target.mkdir()
    for name, child in folder.children.items():
        place = target / name
        if isinstance(child, Folder):
            _copy_folder(child, place)
        else:
            shutil.copy2(child.path, place, follow_symlinks=False)
    _finish_folder(target, folder.mtime)


def _share(leaf: Leaf, place: Path) -> None:
    """A hard link, of a symbolic link too; a copy where the file system has no more links to give."""
    try:
        os.link(leaf.path, place, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        shutil.copy2(leaf.path, place, follow_symlinks=False)


def _finish_folder(path: Path, mtime: int) -> None:
    path.chmod(0o755)
    os.utime(path, (mtime, mtime))


def _write_tar(target: Path, folder: Folder) -> None:
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        _add_folder(tar, folder, "")


def _add_folder(tar: tarfile.TarFile, folder: Folder, prefix: str) -> None:
    """Members in the order of names, owned by root, each folder before what is in it."""
    for name, child in folder.children.items():
        member = tarfile.TarInfo(prefix + name)
        if isinstance(child, Folder):
            member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o755, child.mtime
            tar.addfile(member)
            _add_folder(tar, child, f"{prefix}{name}/")
        else:
            _add_leaf(tar, member, child)


def _add_leaf(tar: tarfile.TarFile, member: tarfile.TarInfo, leaf: Leaf) -> None:
    status = os.lstat(leaf.path)
    member.mtime, member.mode = int(status.st_mtime), stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        member.type, member.linkname = tarfile.SYMTYPE, os.readlink(leaf.path)  # noqa: PTH115 - exactly
        tar.addfile(member)
        return
    member.size = status.st_size
    with open(os.open(leaf.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:  # noqa: PTH123
        tar.addfile(member, file)
