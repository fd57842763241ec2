"""Packages from folders and files, the same bytes for the same content.

Entries are sorted and have one fixed time, files keep their modes, links are followed. `__pycache__` is left out:
Python tells whether what it holds is of use by the time of the source, which no longer is what it was.
Everything else goes in; no ignore file is looked at.
"""

import io
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from runtime.deploy.errors import TemplateError
from runtime.deploy.packages import Package, imaged, stored, zipped
from runtime.deploy.wanted import Source
from runtime.zips import MAX_UNZIPPED

_TIME = (1980, 1, 1, 0, 0, 0)
_CACHE = "__pycache__"


def package(source: Source, folder: Path) -> Package:
    """What is to be sent of a source; paths are relative to the template's folder."""
    if source.image:
        return imaged(source.image)
    if source.object is not None:
        return stored(source.object.bucket, source.object.key, source.object.version)
    return zipped(zip_of(source, folder))


def zip_of(source: Source, folder: Path) -> bytes:
    """The zip of a path or a text."""
    if source.path is None:
        return _zip([(source.file, source.inline.encode(), 0o644)])
    path = folder / source.path
    try:
        if path.is_dir():
            return _zip(_contents(path))
        content, mode = _read(path, 0)
        return content if zipfile.is_zipfile(io.BytesIO(content)) else _zip([(path.name, content, mode)])
    except OSError as error:
        raise TemplateError(f"cannot read {error.filename or path}: {error.strerror or error}") from None


def files_of(path: Path) -> Iterator[Path]:
    """Every file of a folder, or the file itself; sorted, links followed."""
    if path.is_dir():
        yield from _walk(path, ())
    else:
        yield path


def _contents(folder: Path) -> Iterator[tuple[str, bytes, int]]:
    """Name in the zip, bytes and mode of each file."""
    size = 0
    for path in files_of(folder):
        content, mode = _read(path, size)
        size += len(content)
        yield path.relative_to(folder).as_posix(), content, mode


def _read(path: Path, before: int) -> tuple[bytes, int]:
    """A file's bytes and mode, if it fits beside as many bytes as were read before."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise TemplateError(f"{path} is neither a file nor a folder")
    if before + status.st_size > MAX_UNZIPPED:
        raise TemplateError(
            f"with {path} it holds more than the {MAX_UNZIPPED} bytes that a package may have"
        )
    return path.read_bytes(), status.st_mode


def _walk(folder: Path, above: tuple[tuple[int, int], ...]) -> Iterator[Path]:
    status = folder.stat()
    me = (status.st_dev, status.st_ino)
    if me in above:
        raise TemplateError(f"{folder} is a link to a folder that it is in")
    for name in sorted(os.listdir(folder)):  # noqa: PTH208 -- names, to be sorted as text
        path = folder / name
        if not path.is_dir():
            yield path
        elif name != _CACHE:
            yield from _walk(path, (*above, me))


def _zip(entries: Iterable[tuple[str, bytes, int]]) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, mode in entries:
            info = zipfile.ZipInfo(name, _TIME)
            info.create_system = 3  # Unix, whatever this is: else the mode is not looked at
            info.external_attr = (stat.S_IFREG | stat.S_IMODE(mode)) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return target.getvalue()
