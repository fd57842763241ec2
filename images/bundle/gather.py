"""Puts the bundle together: an interpreter with its loader and libraries, and of its modules only what is needed.

    python3 gather.py PARTS MODULES PACKAGES DESTINATION

PARTS is a directory into which Debian packages of the target's architecture were unpacked; PACKAGES holds wheels for
the target, unpacked; MODULES holds `rapid`. What modules are needed is found out by importing, on the interpreter
that this runs on, which has to be the same version; so the target may be another architecture. Everything is compiled
without its source, and says the same whenever it is made.
"""

import json
import marshal
import os
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
OWN = Path(os.__file__).resolve().parent
"""Where this interpreter has its modules."""

ABSENT = (
    "ssl",
    "_ssl",
    "_hashlib",
    "_uuid",
    "_bz2",
    "_lzma",
    "_decimal",
    "uvloop",
    "brotli",
    "brotlicffi",
    "readline",
)
"""What would bring big libraries and is not needed; those who import it do without."""

LATER = (
    # What is imported only once it is needed, by us, by the packages, or by the interpreter itself.
    "ctypes", "tarfile", "traceback", "linecache", "tokenize", "warnings", "json", "locale", "getopt", "argparse", "gettext",
    "encodings.ascii", "encodings.latin_1", "encodings.idna", "encodings.utf_8", "encodings.raw_unicode_escape",
    "encodings.unicode_escape", "encodings.hex_codec", "encodings.utf_16", "encodings.utf_32", "encodings.charmap", "stringprep",
    "asyncio.unix_events", "asyncio.taskgroups", "concurrent.futures.thread", "unicodedata", "resource",  # the last: `os.wait4` does
    "base64", "dataclasses", "uuid", "zoneinfo",  # the last three orjson asks for
)  # fmt: skip

FACES = {
    # Of aiohttp only the server. Its own two modules of these names import the client too, and twice the time.
    "aiohttp/__init__.py": (
        '__version__ = "{version}"\n'
        "from . import hdrs\n"
        "from .http import HttpVersion, HttpVersion10, HttpVersion11\n"
        "from .streams import StreamReader\n"
    ),
    "aiohttp/web.py": (
        "from .web_protocol import PayloadAccessError, RequestHandler, RequestPayloadError\n"
        "from .web_request import BaseRequest\n"
        "from .web_response import Response, StreamResponse\n"
        "from .web_server import Server\n"
    ),
}

SHORT = {
    # Of modules that others import and hardly use: what they use, and the whole behind it.
    "inspect": """
import types
from functools import partial

def isfunction(it): return isinstance(it, types.FunctionType)
def ismethod(it): return isinstance(it, types.MethodType)
def isgenerator(it): return isinstance(it, types.GeneratorType)

def iscoroutinefunction(it):
    while isinstance(it, (types.MethodType, partial)):
        it = it.__func__ if isinstance(it, types.MethodType) else it.func
    return isinstance(it, types.FunctionType) and bool(it.__code__.co_flags & 128)
""",
}
REST = """
def __getattr__(name):
    import {name}_whole
    return getattr({name}_whole, name)
"""
PREPARED = "prepared_dataclasses"
TAIL = f"""
from {PREPARED} import exec

class inspect:
    signature = staticmethod(lambda cls: "")
"""
"""Ends the module `dataclasses`: methods of classes that are known are compiled already, and the text about a class that
has no docstring, for which the longest time is taken, nobody reads."""
PREPARED_TEXT = """
import builtins, marshal

def exec(text, names, found):
    code = CODES.get(text)
    builtins.exec(text if code is None else marshal.loads(code), names, found)

CODES = marshal.loads({codes!r})
"""


def main(parts: Path, modules: Path, packages: Path, destination: Path) -> None:
    library = destination / "lib" / VERSION
    (library / "lib-dynload").mkdir(
        parents=True
    )  # by it the interpreter knows the place, even if it is empty
    sources = stage(packages, modules)
    names, texts = needed(sources)
    for name in names:
        for path in files_of(name, sources, parts):
            copy(path, library, sources)
    prepare_dataclasses(texts, library, sources)
    for name, text in SHORT.items():
        whole = (OWN / f"{name}.py").read_text()
        write(name, text + REST.format(name=name), library, sources)
        write(f"{name}_whole", whole, library, sources)
    (destination / "bin").mkdir()
    shutil.copy(parts / "usr/bin" / VERSION, destination / "bin" / "python3")
    (destination / "lib" / "ld.so").write_bytes(deaf(loader(parts).read_bytes()))
    (destination / "lib" / "ld.so").chmod(0o755)
    add_libraries(parts, destination)


def stage(packages: Path, modules: Path) -> Path:
    """Packages and `rapid` in one directory, aiohttp with the smaller face."""
    sources = Path(tempfile.mkdtemp()) / "sources"
    shutil.copytree(packages, sources)
    shutil.copytree(modules / "rapid", sources / "rapid")
    version = re.search(r'__version__ = "(.*)"', (sources / "aiohttp/__init__.py").read_text())
    if version is None:
        raise SystemExit("aiohttp does not say which version it is")
    for name, text in FACES.items():
        (sources / name).write_text(text.replace("{version}", version[1]))
    return sources


def needed(sources: Path) -> tuple[list[str], list[str]]:
    """The modules that get imported, by name, and what `dataclasses` compiles meanwhile."""
    code = (
        "import sys, types, importlib\n"
        f"if {foreign(sources)}:\n"  # no interpreter but the target's can import this one, and nothing stands for it
        "    sys.modules['orjson'] = stub = types.ModuleType('orjson')\n"
        "    stub.__getattr__ = lambda name: 0\n"
        f"sys.path[:0] = [{str(sources)!r}]\n"
        f"for name in {ABSENT!r}: sys.modules[name] = None\n"
        "import builtins, dataclasses, json\n"
        "texts = []\n"
        "dataclasses.exec = lambda text, *names: (texts.append(text), builtins.exec(text, *names))\n"
        f"for name in {LATER + tuple(own_modules(sources))!r}: importlib.import_module(name)\n"
        "print(json.dumps([[name for name, module in sys.modules.items() if module is not None], texts]))\n"
    )
    # The compiled parts of packages are the target's: where that is not this machine they come without being imported.
    environ = (
        {f"{each.name.upper()}_NO_EXTENSIONS": "1" for each in sources.iterdir()} if foreign(sources) else {}
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], stdout=subprocess.PIPE, check=True, text=True, env=environ
    )
    names, texts = json.loads(run.stdout)
    return names, texts


def foreign(sources: Path) -> bool:
    """Whether the packages are for another machine."""
    return not any(sources.glob(f"multidict/*{os.uname().machine}*.so"))


def own_modules(sources: Path) -> list[str]:
    return [
        "rapid" if path.stem == "__init__" else f"rapid.{path.stem}"
        for path in sorted((sources / "rapid").glob("*.py"))
    ]


def files_of(name: str, sources: Path, parts: Path) -> list[Path]:
    """Where a module lies; of a package in `sources` its compiled neighbours too."""
    relative = name.replace(".", "/")
    places = [root / end for root in (sources, OWN) for end in (f"{relative}.py", f"{relative}/__init__.py")]
    found = [path for path in places if path.is_file()][:1]
    if found and found[0].name == "__init__.py" and found[0].is_relative_to(sources):
        found += (path for path in found[0].parent.glob("*.so") if "_testcapi" not in path.name)
    return [*found, *parts.glob(f"usr/lib/{VERSION}/lib-dynload/{name}.*.so")]


def copy(path: Path, library: Path, sources: Path) -> None:
    if path.suffix == ".so":
        inside = path.is_relative_to(sources)
        target = library / path.relative_to(sources) if inside else library / "lib-dynload" / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        return
    relative = path.relative_to(sources if path.is_relative_to(sources) else OWN)
    target = library / relative.with_suffix(".pyc")
    target.parent.mkdir(parents=True, exist_ok=True)
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(
        str(path), str(target), str(relative), doraise=True, optimize=2, invalidation_mode=mode
    )


def prepare_dataclasses(texts: list[str], library: Path, sources: Path) -> None:
    """Let `dataclasses` find the methods compiled that it would compile at every start."""
    codes = {
        text: marshal.dumps(compile(text, "<string>", "exec", optimize=2)) for text in dict.fromkeys(texts)
    }
    write(PREPARED, PREPARED_TEXT.format(codes=marshal.dumps(codes)), library, sources)
    write("dataclasses", (OWN / "dataclasses.py").read_text() + TAIL, library, sources)


def write(name: str, text: str, library: Path, sources: Path) -> None:
    """A module of our own making."""
    (sources / f"{name}.py").write_text(text)
    copy(sources / f"{name}.py", library, sources)


def add_libraries(parts: Path, destination: Path) -> None:
    """The libraries that anything in the bundle asks for, and those that they ask for."""
    waiting = [path for path in destination.rglob("*") if path.is_file() and is_elf(path)]
    while waiting:
        for name in wanted(waiting.pop()):
            target = destination / "lib" / name
            if name.startswith("ld-linux") or target.exists():
                continue
            shutil.copy(library_of(parts, name), target)
            waiting.append(target)


def library_of(parts: Path, name: str) -> Path:
    return next(path for place in ("lib", "usr/lib") for path in parts.glob(f"{place}/*/{name}")).resolve()


def wanted(path: Path) -> list[str]:
    run = subprocess.run(["readelf", "-d", str(path)], stdout=subprocess.PIPE, check=True, text=True)
    return re.findall(r"\(NEEDED\).*\[(.*)\]", run.stdout)


def loader(parts: Path) -> Path:
    return library_of(parts, "ld-linux-*")


def deaf(program: bytes) -> bytes:
    """The loader without the file by which an image could have a library of its own loaded into the agent."""
    name = b"/etc/ld.so.preload"
    if program.count(name) != 1:
        raise SystemExit("the loader does not name its list of libraries where it used to")
    return program.replace(name, bytes(len(name)))


def is_elf(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
