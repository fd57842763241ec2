"""Packages from real folders."""

import io
import os
import zipfile
from pathlib import Path

import pytest

from runtime.bundles import inspect_zip
from runtime.deploy import archives
from runtime.deploy.archives import zip_of
from runtime.deploy.errors import TemplateError
from runtime.deploy.wanted import Source


def source(path: str) -> Source:
    return Source(("CodeUri",), path)


def entries(data: bytes) -> dict[str, tuple[bytes, int]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            info.filename: (archive.read(info), info.external_attr >> 16 & 0o777)
            for info in archive.infolist()
        }


def fill(folder: Path, names: list[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"this is {name}")
        path.chmod(0o644)


def test_the_same_content_is_the_same_bytes(tmp_path: Path) -> None:
    """Whenever and in whatever order files were written; modes count, times do not."""
    names = ["b.py", "a/z.py", "a/b/c.py", ".gitignore", "a.py"]
    one, other = tmp_path / "one", tmp_path / "other"
    fill(one, names)
    fill(other, names[::-1])
    for number, name in enumerate(names):
        os.utime(other / name, (number, number))
    data = zip_of(source("one"), tmp_path)
    assert data == zip_of(source("other"), tmp_path)
    assert list(entries(data)) == [".gitignore", "a/b/c.py", "a/z.py", "a.py", "b.py"]
    assert inspect_zip(data).files == len(names)
    (other / "b.py").chmod(0o755)
    changed = zip_of(source("other"), tmp_path)
    assert changed != data
    assert entries(changed)["b.py"] == (b"this is b.py", 0o755)


def test_python_s_caches_are_left_out(tmp_path: Path) -> None:
    """They come and go with test runs; everything else goes in, ignored by git or not."""
    fill(tmp_path / "code", ["app.py", "__pycache__/app.pyc", "sub/__pycache__/x.pyc", "sub/x.py"])
    assert list(entries(zip_of(source("code"), tmp_path))) == ["app.py", "sub/x.py"]


def test_files_are_packages_too(tmp_path: Path) -> None:
    """A zip is taken as it is, another file becomes the one file of a zip, and so does code in the template."""
    fill(tmp_path, ["app.py"])
    single = zip_of(source("app.py"), tmp_path)
    assert entries(single) == {"app.py": (b"this is app.py", 0o644)}
    (tmp_path / "code.zip").write_bytes(single)
    assert zip_of(source("code.zip"), tmp_path) == single
    inline = zip_of(Source(("InlineCode",), None, "x = 1", "index.py"), tmp_path)
    assert entries(inline) == {"index.py": (b"x = 1", 0o644)}


def test_links_are_followed(tmp_path: Path) -> None:
    """To files and to folders, also out of the folder; a link to a folder above itself is refused, a dead one too."""
    fill(tmp_path, ["shared/words.py", "code/app.py"])
    (tmp_path / "code/shared").symlink_to("../shared")
    (tmp_path / "code/again.py").symlink_to("app.py")
    assert list(entries(zip_of(source("code"), tmp_path))) == ["again.py", "app.py", "shared/words.py"]
    (tmp_path / "shared/up").symlink_to("../code")
    with pytest.raises(TemplateError, match="is a link to a folder that it is in"):
        zip_of(source("code"), tmp_path)
    (tmp_path / "shared/up").unlink()
    (tmp_path / "code/dead").symlink_to("nowhere")
    with pytest.raises(TemplateError, match=r"cannot read .*/code/dead: No such file"):
        zip_of(source("code"), tmp_path)


def test_what_is_no_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing paths and pipes; and more than a package may hold is not read at all."""
    with pytest.raises(TemplateError, match=r"cannot read .*/nothing: No such file"):
        zip_of(source("nothing"), tmp_path)
    fill(tmp_path, ["code/a.py", "code/b.py"])
    os.mkfifo(tmp_path / "code/pipe")
    for path in ("code", "code/pipe"):
        with pytest.raises(TemplateError, match="pipe is neither a file nor a folder"):
            zip_of(source(path), tmp_path)
    (tmp_path / "code/pipe").unlink()
    monkeypatch.setattr(archives, "MAX_UNZIPPED", 20)
    with pytest.raises(TemplateError, match=r"with .*b\.py it holds more than the 20 bytes"):
        zip_of(source("code"), tmp_path)
