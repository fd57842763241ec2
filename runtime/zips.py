"""Uploaded zips, which may be hostile: read, judged as a whole, and never trusted.

An archive that passes has a plan: files, links and folders that do not contradict each other, below a size that its
own claims and its actual bytes both keep to. Nothing here writes to a file system.
"""

import errno
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from runtime.zip_entries import EPOCH, NOT_A_ZIP, BadZip, Entry, Kind, Parts, corrupt, link_target, read_entry

MAX_UNZIPPED = 262_144_000
"""250 MB: Lambda's limit for a function with all its layers, and so for each zip."""
TOO_LARGE = f"Unzipped size must be smaller than {MAX_UNZIPPED} bytes"
EMPTY = "Uploaded file must be a non-empty zip"

_MAX_NODES = 200_000
"""Files, links and folders together. No limit of AWS's: millions of empty files would fill a disk's inodes."""
_CHUNK = 1 << 18
_MAX_DIRECTORY = 64 << 20
"""Of the central directory, in bytes; more than that many entries of usual length need."""

_ENTRY_SIGNATURE, _END_SIGNATURE, _END64_SIGNATURE = b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06"
_LOCAL_HEADER = 30
"""Bytes of a local header without its name and extra fields."""
_END_LENGTH, _END64_LENGTH = 22, 56 + 20
"""Bytes of the end record; of the 64-bit record with the locator that stands between the two."""
_MAX_COMMENT = 0xFFFF


@dataclass(frozen=True, slots=True)
class ZipFacts:
    """What is known of a zip once it has been read to its end."""

    unzipped_size: int
    files: int


@dataclass(slots=True)
class Plan:
    """What a zip unpacks to. No leaf is a folder too, so nothing is ever created below a link."""

    leaves: dict[Parts, Entry] = field(default_factory=dict)
    """Files and links. Of two entries with one name the later counts, as for `unzip`."""
    folders: dict[Parts, int] = field(default_factory=dict)
    """Every folder, those included that are only implied by what is in them, with its modification time."""


@dataclass(frozen=True, slots=True)
class Archive:
    """An open zip that has been judged."""

    plan: Plan
    unzipped_size: int
    _zip: zipfile.ZipFile

    def content(self, entry: Entry) -> Iterator[bytes]:
        """A file's bytes, checked against the size and checksum that the zip claims; BadZip where they differ."""
        left = entry.info.file_size
        with _judging(), self._zip.open(entry.info) as file:
            while chunk := file.read(_CHUNK):
                left -= len(chunk)
                yield chunk
        if left:
            raise corrupt(f"{entry.info.filename!r} holds {left} bytes less than it claims")

    def target(self, link: Entry) -> bytes:
        return link_target(b"".join(self.content(link)))


def inspect_zip(data: bytes | Path) -> ZipFacts:
    """Read a zip to its end, keeping nothing: BadZip with AWS's text, or facts. Takes a while; call it in a thread."""
    with open_zip(data) as archive:
        for entry in archive.plan.leaves.values():
            if entry.kind is Kind.LINK:
                archive.target(entry)
            else:
                for _ in archive.content(entry):
                    pass
        return ZipFacts(archive.unzipped_size, len(archive.plan.leaves))


@contextmanager
def open_zip(data: bytes | Path) -> Iterator[Archive]:
    """Open and judge by the central directory alone; contents are checked as they are read."""
    with data.open("rb") if isinstance(data, Path) else io.BytesIO(data) as file:
        with _judging():
            _refuse_crowd(file)
            archive = zipfile.ZipFile(file)
        yield _judge(archive)


def _judge(archive: zipfile.ZipFile) -> Archive:
    infos = archive.infolist()
    if not infos:
        raise BadZip(EMPTY)
    size = sum(info.file_size for info in infos)
    if size > MAX_UNZIPPED:
        raise BadZip(TOO_LARGE)
    _refuse_overlaps(infos, archive.start_dir)
    return Archive(_plan(infos), size, archive)


def _plan(infos: Sequence[zipfile.ZipInfo]) -> Plan:
    plan = Plan()
    for info in infos:
        entry = read_entry(info)
        if entry is None:
            continue
        _add(plan, entry)
        if len(plan.leaves) + len(plan.folders) > _MAX_NODES:
            raise corrupt(f"more than {_MAX_NODES} files and folders")
    if contradictions := plan.leaves.keys() & plan.folders.keys():
        raise corrupt(f"{'/'.join(min(contradictions))!r} is both a folder and none")
    return plan


def _add(plan: Plan, entry: Entry) -> None:
    for depth in range(len(entry.parts) - 1, 0, -1):
        if entry.parts[:depth] in plan.folders:
            break
        plan.folders[entry.parts[:depth]] = EPOCH
    if entry.kind is Kind.DIRECTORY:
        plan.folders[entry.parts] = entry.mtime
    else:
        plan.leaves[entry.parts] = entry


def _refuse_overlaps(infos: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Entries that share bytes are how a small zip claims to hold a great deal."""
    for info in sorted(infos, key=lambda info: info.header_offset, reverse=True):
        if info.header_offset + _LOCAL_HEADER + info.compress_size > end:
            raise corrupt(f"{info.filename!r} overlaps what follows it")
        end = info.header_offset


def _refuse_crowd(file: IO[bytes]) -> None:
    """Count the directory's entries before `zipfile` makes an object of each."""
    length = file.seek(0, io.SEEK_END)
    file.seek(max(0, length - _END_LENGTH - _MAX_COMMENT))
    tail = file.read()
    found = tail.rfind(_END_SIGNATURE)
    if found < 0 or len(tail) - found < _END_LENGTH:
        raise BadZip(NOT_A_ZIP if length else EMPTY, "no end of central directory")
    end = length - len(tail) + found
    size = _directory_size(file, end)
    if size > end or size > _MAX_DIRECTORY:
        raise corrupt(f"a central directory of {size} bytes")
    file.seek(max(0, end - size - _END64_LENGTH))
    if file.read(size + _END64_LENGTH).count(_ENTRY_SIGNATURE) > _MAX_NODES:
        raise corrupt(f"more than {_MAX_NODES} entries")


def _directory_size(file: IO[bytes], end: int) -> int:
    """Bytes of the central directory whose end record is at `end`; the 64-bit record counts where there is one."""
    start = max(0, end - _END64_LENGTH)
    file.seek(start)
    before, record = file.read(end - start), file.read(_END_LENGTH)
    if len(before) == _END64_LENGTH and before.startswith(_END64_SIGNATURE):
        return int(struct.unpack_from("<Q", before, 40)[0])
    return int(struct.unpack_from("<I", record, 12)[0])


@contextmanager
def _judging() -> Iterator[None]:
    """Whatever `zipfile` stumbles over becomes BadZip; trouble with the disk stays what it is."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, ValueError) as error:
        raise corrupt(f"{type(error).__name__}: {error}") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to before the beginning
            raise
        raise corrupt(str(error)) from error
