"""One entry of a zip's central directory: where it belongs, what it is, and when it must be refused.

Pure: looks at the directory's fields only, never at a file system. What it lets pass stays below the root of the tree,
is a file, a directory or a symbolic link, and can be named on Linux.
"""

import calendar
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipInfo

NOT_A_ZIP = "Could not unzip uploaded file. Please check your file, then try to upload again."
"""AWS has one text for everything that is wrong inside a zip."""

EPOCH = calendar.timegm((1980, 1, 1, 0, 0, 0))
"""Modification time of what a zip gives none to; the first one that a zip can express."""

_UNIX_HOSTS = frozenset({3, 19})
"""Unix and Darwin: their upper attribute bits are a mode."""
_WINDOWS_HOSTS = frozenset({0, 10, 11, 14})
"""FAT, NTFS by two numbers, VFAT: their tools may write backslashes between folders."""
_ENCRYPTED, _UTF8 = 0x1, 0x800
_FAT_DIRECTORY = 0x10
_EXTENDED_TIMESTAMP, _HAS_MTIME = 0x5455, 0x1

_MAX_COMPONENT = 255
"""NAME_MAX of Linux file systems, in bytes."""
_MAX_PATH = 2048
"""In bytes; leaves room below PATH_MAX for the directories above the tree."""
_MAX_DEPTH = 128
"""Keeps walks shallow; deeper trees are made to break them."""
_MAX_TARGET = 4095
"""Of a symbolic link, in bytes: PATH_MAX without its terminator."""


class BadZip(Exception):
    """A zip that is refused; the text is AWS's. `detail` says what exactly is wrong, for logs."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail or message


def corrupt(detail: str) -> BadZip:
    return BadZip(NOT_A_ZIP, detail)


class Kind(Enum):
    FILE = auto()
    DIRECTORY = auto()
    LINK = auto()


Parts = tuple[str, ...]
"""A path below the root of a tree, by components."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that passed. `mode` holds permission bits only; `mtime` counts seconds since 1970, UTC."""

    parts: Parts
    kind: Kind
    mode: int
    mtime: int
    info: ZipInfo


def read_entry(info: ZipInfo) -> Entry | None:
    """Judge one entry: BadZip, or what to make of it (None: the root of the tree itself, nothing to make)."""
    _refuse_unreadable(info)
    name = _name(info)
    parts = _parts(name)
    if not parts:
        return None
    kind = _kind(info, name)
    if kind is Kind.LINK and info.file_size > _MAX_TARGET:
        raise corrupt(f"{name!r}: a link of {info.file_size} bytes")
    return Entry(parts, kind, _mode(info, kind), _mtime(info), info)


def link_target(content: bytes) -> bytes:
    """The target of a symbolic link, unchanged: see `runtime.trees` for why any target is let pass."""
    if not content or b"\0" in content:
        raise corrupt("a link without a usable target")
    return content


def _refuse_unreadable(info: ZipInfo) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise corrupt(f"{info.filename!r} is encrypted")
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise corrupt(f"{info.filename!r} uses compression method {info.compress_type}")
    if info.compress_type == ZIP_STORED and info.compress_size != info.file_size:
        raise corrupt(f"{info.filename!r} is stored with two different sizes")


def _name(info: ZipInfo) -> str:
    """The entry's name. Without the UTF-8 flag, Unix tools still mean UTF-8 where it fits; else it is code page 437."""
    name = info.orig_filename
    if not info.flag_bits & _UTF8 and info.create_system in _UNIX_HOSTS:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    if "\\" in name and "/" not in name and info.create_system in _WINDOWS_HOSTS:
        name = name.replace("\\", "/")
    return name


def _parts(name: str) -> Parts:
    if "\0" in name or name.startswith("/"):
        raise corrupt(f"{name!r} is no relative path")
    if ".." in name.replace("\\", "/").split("/"):
        raise corrupt(f"{name!r} leads out of the tree")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    try:
        lengths = [len(part.encode()) for part in parts]
    except UnicodeEncodeError as error:
        raise corrupt(f"{name!r} is no text") from error
    if (
        len(parts) > _MAX_DEPTH
        or sum(lengths) + len(parts) > _MAX_PATH
        or max(lengths, default=0) > _MAX_COMPONENT
    ):
        raise corrupt(f"{name[:100]!r}… is too long or too deep")
    return parts


def _unix_mode(info: ZipInfo) -> int:
    """The mode that the archiver recorded; 0 if it recorded none."""
    return info.external_attr >> 16 if info.create_system in _UNIX_HOSTS else 0


def _kind(info: ZipInfo, name: str) -> Kind:
    form = stat.S_IFMT(_unix_mode(info))
    if form not in (0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK):
        raise corrupt(f"{name!r} is a special file")
    slash = name.endswith("/")
    if slash and form == stat.S_IFLNK:
        raise corrupt(f"{name!r} is both a link and a directory")
    if slash or form == stat.S_IFDIR or (form == 0 and info.external_attr & _FAT_DIRECTORY):
        return Kind.DIRECTORY
    return Kind.LINK if form == stat.S_IFLNK else Kind.FILE


def _mode(info: ZipInfo, kind: Kind) -> int:
    """Permission bits as the zip has them, less what nobody may have on a shared read-only tree.

    Special bits and write permission of others go; the owner, which is the control plane, can always read. A file that
    is not readable by all stays so: its function fails with a permission error, as on AWS.
    """
    if kind is Kind.DIRECTORY:
        return 0o755
    recorded = _unix_mode(info)
    return (stat.S_IMODE(recorded) & 0o755) | 0o400 if recorded else 0o644


def _mtime(info: ZipInfo) -> int:
    """Modification time: exact where the archiver recorded one (compiled Python files depend on it), else MS-DOS's."""
    exact = _exact_mtime(info.extra)
    if exact is not None:
        return exact
    try:
        return calendar.timegm(info.date_time)
    except ValueError:  # a month 0 or 13: the field was never filled
        return EPOCH


def _exact_mtime(extra: bytes) -> int | None:
    """The modification time of an extended timestamp field."""
    while len(extra) >= 4:
        tag, length = struct.unpack_from("<HH", extra)
        value, extra = extra[4 : 4 + length], extra[4 + length :]
        if tag == _EXTENDED_TIMESTAMP and len(value) >= 5 and value[0] & _HAS_MTIME:
            return int(struct.unpack_from("<I", value, 1)[0])
    return None
