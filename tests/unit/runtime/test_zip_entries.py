import calendar
import stat
import struct
import zipfile
from zipfile import ZipInfo

import pytest

from runtime.zip_entries import EPOCH, NOT_A_ZIP, BadZip, Entry, Kind, link_target, read_entry

UNIX, FAT, NTFS, DARWIN = 3, 0, 10, 19
UTF8 = 0x800


def info(
    name: str = "f", *, mode: int = 0o100644, host: int = UNIX, flags: int = 0, extra: bytes = b""
) -> ZipInfo:
    """An entry as `zipfile` finds it in a central directory."""
    made = ZipInfo(name, (2024, 2, 3, 4, 5, 6))
    made.orig_filename = name
    made.create_system, made.external_attr, made.flag_bits, made.extra = host, mode << 16, flags, extra
    return made


def read(made: ZipInfo) -> Entry:
    entry = read_entry(made)
    assert entry
    return entry


def refused(made: ZipInfo) -> str:
    with pytest.raises(BadZip) as caught:
        read_entry(made)
    assert str(caught.value) == NOT_A_ZIP
    return caught.value.detail


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("f", ("f",)),
        ("a/b/c", ("a", "b", "c")),
        ("./a//b/./c", ("a", "b", "c")),
        ("a..b/...", ("a..b", "...")),
        ("a\nb", ("a\nb",)),
        ("C:x", ("C:x",)),
    ],
)
def test_names(name: str, parts: tuple[str, ...]) -> None:
    """A name is a path below the root; empty and `.` components count for nothing."""
    assert read(info(name)).parts == parts


@pytest.mark.parametrize("name", ["./", ".", "", "./."])
def test_the_root_itself(name: str) -> None:
    """An entry for the root of the tree makes nothing."""
    assert read_entry(info(name)) is None


@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd",
        "//x",
        "../x",
        "a/../../x",
        "a/..",
        "..",
        "..\\x",
        "a\\..\\..\\x",
        "a/b\\../x",
        "a\0b",
        "a" * 256,
        "é" * 128,
        "/".join("a" * 129),
        "/".join(["a" * 200] * 11),
    ],
)
@pytest.mark.parametrize("host", [UNIX, FAT])
def test_names_that_lead_out_or_too_far(name: str, host: int) -> None:
    """Absolute names, names that climb (by slash or backslash), with NUL, too long or too deep are refused."""
    refused(info(name, host=host, flags=UTF8))


def test_lone_surrogates_are_no_name() -> None:
    """A name that is no text cannot be made."""
    refused(info("\ud800", flags=UTF8))


def test_backslashes_of_windows_tools() -> None:
    """As for `unzip`: where a Windows tool wrote backslashes only, they separate; elsewhere they are characters."""
    assert read(info("a\\b", host=FAT)).parts == ("a", "b")
    assert read(info("a\\b", host=NTFS)).parts == ("a", "b")
    assert read(info("a\\b", host=UNIX)).parts == ("a\\b",)
    assert read(info("a/b\\c", host=FAT)).parts == ("a", "b\\c")


def test_encodings() -> None:
    """The flag means UTF-8; without it Unix tools mean UTF-8 where that fits, all others code page 437."""
    seen = "é".encode().decode("cp437")
    assert read(info("é", flags=UTF8)).parts == ("é",)
    assert read(info(seen, host=UNIX)).parts == ("é",)
    assert read(info(seen, host=DARWIN)).parts == ("é",)
    assert read(info(seen, host=FAT)).parts == (seen,)
    latin = b"\xe9".decode("cp437")
    assert read(info(latin, host=UNIX)).parts == (latin,)


@pytest.mark.parametrize(
    ("recorded", "kept"),
    [
        (0o644, 0o644),
        (0o755, 0o755),
        (0o777, 0o755),
        (0o666, 0o644),
        (0o6755, 0o755),
        (0o1644, 0o644),
        (0o600, 0o600),
        (0o500, 0o500),
        (0o111, 0o511),
        (0o200, 0o600),
    ],
)
def test_modes(recorded: int, kept: int) -> None:
    """Modes are kept, but for special bits and others' right to write; the owner can always read."""
    assert read(info(mode=stat.S_IFREG | recorded)).mode == kept
    assert read(info(mode=recorded)).mode == kept


def test_archives_without_modes() -> None:
    """Files of tools that record no Unix mode are 0644, directories 0755."""
    assert read(info(host=FAT, mode=0o100777)).mode == 0o644
    assert read(info(mode=0)).mode == 0o644
    assert read(info("d/", mode=0)).mode == 0o755
    assert read(info("d/", mode=stat.S_IFDIR | 0o700)).mode == 0o755


def test_kinds() -> None:
    """Directories by slash, by Unix type or by MS-DOS attribute; links by Unix type; the rest are files."""
    assert read(info("d/")).kind is Kind.DIRECTORY
    assert read(info("d", mode=stat.S_IFDIR | 0o755)).kind is Kind.DIRECTORY
    fat = info("d", host=FAT, mode=0)
    fat.external_attr = 0x10
    assert read(fat).kind is Kind.DIRECTORY
    assert read(info("l", mode=stat.S_IFLNK | 0o777)).kind is Kind.LINK
    assert read(info("l", host=FAT, mode=stat.S_IFLNK | 0o777)).kind is Kind.FILE
    assert read(info("f", mode=0o644)).kind is Kind.FILE


@pytest.mark.parametrize("form", [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
def test_special_files(form: int) -> None:
    """Devices, pipes and sockets are refused."""
    assert "special file" in refused(info(mode=form | 0o644))


def test_a_link_that_is_a_directory() -> None:
    """An entry cannot be both."""
    refused(info("l/", mode=stat.S_IFLNK | 0o777))


def test_a_link_with_a_novel_for_a_target() -> None:
    """A target longer than any path is refused before it is read."""
    link = info("l", mode=stat.S_IFLNK | 0o777)
    link.file_size = link.compress_size = 4096
    assert "a link of 4096 bytes" in refused(link)


@pytest.mark.parametrize("content", [b"", b"a\0b"])
def test_link_targets(content: bytes) -> None:
    """A target is any path, but not nothing, and not with NUL in it."""
    with pytest.raises(BadZip):
        link_target(content)
    assert link_target(b"../../etc/passwd") == b"../../etc/passwd"


def test_encrypted() -> None:
    """Encrypted entries are refused."""
    assert "encrypted" in refused(info(flags=0x1))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 9, 93, 99])
def test_compression_methods(method: int) -> None:
    """Only stored and deflated entries are read: the others' readers do not bound what they produce."""
    made = info()
    made.compress_type = method
    assert str(method) in refused(made)


def test_a_stored_entry_has_one_size() -> None:
    """What is stored without compression cannot have another size than it has."""
    made = info()
    made.file_size, made.compress_size = 2, 1
    refused(made)


def test_times() -> None:
    """The extended timestamp is exact; without one the MS-DOS time counts as UTC; a senseless one as 1980."""
    exact = struct.pack("<HHBI", 0x5455, 5, 1, 1_700_000_001)
    other = struct.pack("<HH2s", 0xCAFE, 2, b"xx")
    access_only = struct.pack("<HHBI", 0x5455, 5, 2, 1)
    assert read(info(extra=exact)).mtime == 1_700_000_001
    assert read(info(extra=other + exact)).mtime == 1_700_000_001
    dos = calendar.timegm((2024, 2, 3, 4, 5, 6))
    for extra in (b"", other, access_only, b"\x55", exact[:-2]):
        assert read(info(extra=extra)).mtime == dos
    senseless = info()
    senseless.date_time = (1980, 0, 0, 0, 0, 0)
    assert read(senseless).mtime == EPOCH
