import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime import zips
from runtime.zip_entries import NOT_A_ZIP, BadZip
from runtime.zips import EMPTY, MAX_UNZIPPED, TOO_LARGE, ZipFacts, inspect_zip, open_zip

LINK = stat.S_IFLNK | 0o777


@dataclass
class Crafted:
    """One entry, field by field, so that it can lie."""

    name: bytes = b"f"
    content: bytes = b"content"
    method: int = zipfile.ZIP_DEFLATED
    flags: int = 0
    mode: int = 0o100644
    size: int | None = None
    compressed_size: int | None = None
    crc: int | None = None
    local_name: bytes | None = None
    offset: int | None = None
    raw: bytes | None = None

    def data(self) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.method != zipfile.ZIP_DEFLATED:
            return self.content
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflate.compress(self.content) + deflate.flush()

    def fields(self) -> bytes:
        """What local header and directory have in common, from the version needed to the sizes."""
        data = self.data()
        return struct.pack(
            "<HHHHHIII",
            20,
            self.flags,
            self.method,
            0,
            0x5821,
            zlib.crc32(self.content) if self.crc is None else self.crc,
            len(data) if self.compressed_size is None else self.compressed_size,
            len(self.content) if self.size is None else self.size,
        )

    def local(self) -> bytes:
        name = self.name if self.local_name is None else self.local_name
        return b"PK\x03\x04" + self.fields() + struct.pack("<HH", len(name), 0) + name + self.data()

    def directory(self, offset: int) -> bytes:
        offset = offset if self.offset is None else self.offset
        tail = struct.pack("<HHHHHII", len(self.name), 0, 0, 0, 0, self.mode << 16, offset)
        return b"PK\x01\x02" + struct.pack("<BB", 20, 3) + self.fields() + tail + self.name


def craft(entries: Iterable[Crafted], *, size: int | None = None, offset: int | None = None) -> bytes:
    """A zip of such entries; its end record may lie about the directory."""
    body, directory = b"", b""
    for entry in entries:
        directory += entry.directory(len(body))
        body += entry.local()
    count = min(len(directory) // 46, 0xFFFF)
    end = struct.pack(
        "<HHHHIIH",
        0,
        0,
        count,
        count,
        len(directory) if size is None else size,
        len(body) if offset is None else offset,
        0,
    )
    return body + directory + b"PK\x05\x06" + end


def ordinary(files: Sequence[tuple[str, bytes]] = (("f", b"content"),)) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files:
            archive.writestr(name, content)
    return buffer.getvalue()


def refused(data: bytes, message: str = NOT_A_ZIP) -> str:
    with pytest.raises(BadZip) as caught:
        inspect_zip(data)
    assert str(caught.value) == message
    return caught.value.detail


def test_facts(tmp_path: Path) -> None:
    """Bytes and files are counted, from memory or from a file alike."""
    data = ordinary([("a", b"123"), ("d/", b""), ("d/b", b"4567")])
    (tmp_path / "z").write_bytes(data)
    assert inspect_zip(data) == inspect_zip(tmp_path / "z") == ZipFacts(unzipped_size=7, files=2)


def test_crafted_zips_are_zips() -> None:
    """The zips crafted here differ from good ones only where a test says so."""
    assert inspect_zip(craft([Crafted(), Crafted(b"l", b"f", mode=LINK)])) == ZipFacts(8, 2)


@pytest.mark.parametrize("data", [b"x", b"PK", b"not a zip " * 100, b"PK\x05\x06", b"\x1f\x8b" + b"\0" * 100])
def test_not_a_zip(data: bytes) -> None:
    """What is no zip gets AWS's text."""
    refused(data)


@pytest.mark.parametrize("data", [b"", craft([])])
def test_empty(data: bytes) -> None:
    """No bytes, or no entries, get AWS's text for that."""
    refused(data, EMPTY)


def test_truncated() -> None:
    """A zip that lost its beginning or its end is refused, wherever it was cut."""
    data = ordinary([("a", b"1" * 100), ("b", b"2" * 100)])
    for cut in range(1, len(data)):
        refused(data[:cut])
    for cut in range(4, len(data) - 22, 7):
        refused(data[cut:])


def test_bytes_before_the_zip() -> None:
    """A zip may follow something else, as in a self-extracting archive."""
    assert inspect_zip(b"#!/usr/bin/env python3\n" + ordinary()) == ZipFacts(7, 1)


def test_a_comment_after_the_zip() -> None:
    """An archive comment is no reason to refuse."""
    buffer = io.BytesIO(ordinary())
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"x" * 60_000
    assert inspect_zip(buffer.getvalue()) == ZipFacts(7, 1)


def test_64_bit_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip with 64-bit records is read, and its entries are counted too."""
    monkeypatch.setattr("zipfile.ZIP_FILECOUNT_LIMIT", 1)
    data = ordinary([(f"f{i}", b"") for i in range(5)])
    assert b"PK\x06\x06" in data
    assert inspect_zip(data).files == 5
    monkeypatch.setattr(zips, "_MAX_NODES", 4)
    assert "more than 4 entries" in refused(data)


@pytest.mark.parametrize("byte", range(0, 60, 7))
def test_corrupt_content(byte: int) -> None:
    """A flipped bit in a file's data is found before the zip is accepted."""
    data = bytearray(craft([Crafted(content=bytes(range(256)), method=zipfile.ZIP_STORED)]))
    data[31 + byte] ^= 1
    assert "CRC" in refused(bytes(data))


def test_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Claims that add up to more than the limit are refused before a byte is unpacked; the limit itself is fine."""
    refused(craft([Crafted(size=MAX_UNZIPPED + 1)]), TOO_LARGE)
    half = Crafted(b"a", size=MAX_UNZIPPED // 2 + 1)
    refused(craft([half, Crafted(b"b", size=MAX_UNZIPPED // 2 + 1)]), TOO_LARGE)
    monkeypatch.setattr(zips, "MAX_UNZIPPED", 1000)
    assert inspect_zip(craft([Crafted(content=b"x" * 1000)])) == ZipFacts(1000, 1)
    refused(craft([Crafted(content=b"x" * 1001)]), TOO_LARGE)


def test_duplicates_count_in_full() -> None:
    """Entries of one name add up, although only the last is kept."""
    twins = [Crafted(size=MAX_UNZIPPED // 2 + 1), Crafted(size=MAX_UNZIPPED // 2 + 1)]
    refused(craft(twins), TOO_LARGE)


def test_more_than_claimed() -> None:
    """A bomb that claims to be small yields no more than it claims, and is refused."""
    bomb = Crafted(content=b"\0" * 50_000_000, size=1000)
    assert "CRC" in refused(craft([bomb]))


def test_more_than_claimed_with_a_fitting_checksum() -> None:
    """Where even the checksum is made to fit the claim, what comes out is exactly what was claimed."""
    bomb = Crafted(content=b"\0" * 50_000_000, size=1000, crc=zlib.crc32(b"\0" * 1000))
    with open_zip(craft([bomb])) as archive:
        (entry,) = archive.plan.leaves.values()
        assert sum(map(len, archive.content(entry))) == 1000


def test_less_than_claimed() -> None:
    """An entry that ends before its claim is refused, with a fitting checksum too."""
    assert "less than it claims" in refused(craft([Crafted(content=b"abc", size=10)]))


def test_overlapping_entries() -> None:
    """Many entries over the same bytes are the trick of the best zip bombs."""
    entries = [Crafted(f"f{i}".encode(), local_name=b"f0", content=b"x" * 1000, offset=0) for i in range(3)]
    assert "overlaps" in refused(craft(entries))
    nested = Crafted(b"a", method=0, content=Crafted(b"b").local())
    assert "overlaps" in refused(craft([nested, Crafted(b"b", offset=31)]))


def test_an_entry_that_runs_into_the_directory() -> None:
    """An entry cannot contain the directory that describes it."""
    assert "overlaps" in refused(craft([Crafted(method=0, compressed_size=100, size=100)]))


def test_names_that_differ() -> None:
    """Header and directory must agree on a name."""
    assert "differ" in refused(craft([Crafted(b"good", local_name=b"evil")]))


@pytest.mark.parametrize("size", [0, 10, 10_000, 0xFFFFFFFF])
def test_a_directory_of_another_size(size: int) -> None:
    """An end record that lies about its directory's size is refused."""
    refused(craft([Crafted()], size=size), EMPTY if size == 0 else NOT_A_ZIP)


@pytest.mark.parametrize("offset", [1, 10_000, 0xFFFFFFFF])
def test_a_directory_elsewhere(offset: int) -> None:
    """An end record that lies about its directory's place is refused."""
    refused(craft([Crafted()], offset=offset))


def test_an_entry_elsewhere() -> None:
    """An entry said to lie outside the file is refused."""
    refused(craft([Crafted(offset=1_000_000)]))


def test_too_many_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Millions of empty files are refused before an object is made for each; implied folders count as well."""
    monkeypatch.setattr(zips, "_MAX_NODES", 10)
    assert inspect_zip(craft([Crafted(f"f{i}".encode()) for i in range(10)])).files == 10
    assert "entries" in refused(craft([Crafted(f"f{i}".encode()) for i in range(11)]))
    assert "folders" in refused(craft([Crafted(b"a/b/c/d/e/f/g/h/i/j/k")]))


def test_an_enormous_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory beyond all proportion is not even read."""
    monkeypatch.setattr(zips, "_MAX_DIRECTORY", 50)
    assert inspect_zip(craft([Crafted(b"a")])).files == 1
    assert "central directory of" in refused(craft([Crafted(b"a"), Crafted(b"b")]))


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([Crafted(b"a"), Crafted(b"a/b")], id="file, then below it"),
        pytest.param([Crafted(b"a/b"), Crafted(b"a")], id="below it, then file"),
        pytest.param([Crafted(b"a"), Crafted(b"a/", b"")], id="file and directory"),
        pytest.param([Crafted(b"a", b"/etc", mode=LINK), Crafted(b"a/passwd")], id="write through link"),
        pytest.param([Crafted(b"a/passwd"), Crafted(b"a", b"/etc", mode=LINK)], id="link last"),
        pytest.param([Crafted(b"a", b".", mode=LINK), Crafted(b"./a/x")], id="link under another spelling"),
        pytest.param([Crafted(b"a", b"x", mode=LINK), Crafted(b"a/b/c/", b"")], id="directory through link"),
        pytest.param([Crafted(b"a", b"/etc", mode=LINK), Crafted(b"a/", b"")], id="link and directory"),
        pytest.param(
            [Crafted(b"a", b"/etc", mode=LINK), Crafted(b"a"), Crafted(b"a/x")], id="link, file, below it"
        ),
    ],
)
def test_contradictions(entries: list[Crafted]) -> None:
    """A path is a file, a link or a folder, never two of them; nothing lies below a file or a link."""
    assert "both a folder and none" in refused(craft(entries))


def test_the_last_of_one_name_counts() -> None:
    """Of two entries with one name the later is kept, as by `unzip`, whether file or link."""
    with open_zip(craft([Crafted(content=b"one"), Crafted(b"./f", content=b"two")])) as archive:
        (entry,) = archive.plan.leaves.values()
        assert b"".join(archive.content(entry)) == b"two"


def test_names_are_case_sensitive() -> None:
    """Names that differ in case are two names, as on Linux."""
    assert inspect_zip(craft([Crafted(b"a"), Crafted(b"A"), Crafted(b"A.d/x")])).files == 3


@pytest.mark.parametrize(
    "target", [b"f", b"../../../etc/passwd", b"/usr/bin/python3", b"/opt/x", b"\xff", b"l"]
)
def test_links_are_kept_wherever_they_lead(target: bytes) -> None:
    """A link's target is only text here."""
    with open_zip(craft([Crafted(b"l", target, mode=LINK)])) as archive:
        (link,) = archive.plan.leaves.values()
        assert archive.target(link) == target


@pytest.mark.parametrize("target", [b"", b"a\0b", b"x" * 5000])
def test_links_without_usable_target(target: bytes) -> None:
    """An empty target, one with NUL in it and one longer than any path are refused."""
    refused(craft([Crafted(b"l", target, mode=LINK)]))


def test_a_name_that_is_no_utf8() -> None:
    """A name flagged as UTF-8 that is none is refused."""
    refused(craft([Crafted(b"\xff\xfe", flags=0x800)]))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(Crafted(flags=1), id="encrypted"),
        pytest.param(Crafted(flags=0x20), id="patched"),
        pytest.param(Crafted(flags=0x40), id="strongly encrypted"),
        pytest.param(Crafted(method=12), id="bzip2"),
        pytest.param(Crafted(method=14), id="lzma"),
        pytest.param(Crafted(raw=b"\xff" * 20), id="no deflate stream"),
        pytest.param(Crafted(raw=b""), id="no bytes"),
        pytest.param(Crafted(name=b"../f"), id="climbs"),
        pytest.param(Crafted(name=b"/f"), id="absolute"),
        pytest.param(Crafted(name=b"a\0b"), id="NUL"),
        pytest.param(Crafted(mode=stat.S_IFIFO | 0o644), id="pipe"),
        pytest.param(Crafted(mode=stat.S_IFCHR | 0o644), id="device"),
    ],
)
def test_bad_entries(entry: Crafted) -> None:
    """One bad entry among good ones makes the whole zip bad."""
    refused(craft([Crafted(b"good"), entry, Crafted(b"better")]))


def test_trouble_with_the_disk_is_no_bad_zip(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input/output error keeps its name: the caller's zip may be perfectly good."""

    def broken(*_: object) -> None:
        raise OSError(5, "broken")

    monkeypatch.setattr("runtime.zips.zipfile.ZipFile", broken)
    with pytest.raises(OSError, match="broken"):
        inspect_zip(ordinary())


def mutate(data: bytes, edits: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, value in edits:
        changed[place % len(changed)] = value
    return bytes(changed)


edits = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8)
SAMPLE = craft(
    [
        Crafted(b"a/b", b"x" * 50),
        Crafted(b"l", b"a/b", mode=LINK),
        Crafted(b"c", method=0),
        Crafted(b"d/", b""),
    ]
)


@settings(max_examples=500, deadline=None)
@given(edits)
def test_any_damage_is_found_or_harmless(places: list[tuple[int, int]]) -> None:
    """Whatever bytes are changed: a zip is accepted or refused with a text, and nothing else happens."""
    try:
        facts = inspect_zip(mutate(SAMPLE, places))
    except BadZip as refusal:
        assert str(refusal) in (NOT_A_ZIP, TOO_LARGE, EMPTY)  # noqa: PT017
    else:
        assert facts.unzipped_size <= MAX_UNZIPPED
