"""What values a setting may take: how a text is read, and how one that does not fit is complained of.

It knows what a value looks like, never whether it works; which setting is of which kind is `runtime.settings`'s to say.
"""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import image_choice, neighbours


class SettingsError(Exception):
    """A value that cannot be used; the text begins with where it came from."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a setting takes. `parse` raises ValueError; `wanted` completes `'x' is not …`."""

    parse: Callable[[str], Any]
    wanted: str
    metavar: str


def _bounded(number: type[int] | type[float], low: float, high: float) -> Callable[[str], Any]:
    def parse(text: str) -> int | float:
        value = number(text)
        if not low <= value <= high:  # NaN is refused too
            raise ValueError
        return value

    return parse


def _matching(pattern: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError
        return text

    return parse


def path_of(text: str) -> Path:
    if "\0" in text:
        raise ValueError
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:  # no such user, no home
        raise ValueError from None


class Paths(tuple[Path, ...]):
    """Several paths, written with colons between."""

    __slots__ = ()

    def __str__(self) -> str:
        return os.pathsep.join(map(str, self))


def _paths(text: str) -> Paths:
    return Paths(path_of(part) for part in text.split(os.pathsep) if part)


def file_of(text: str) -> Path:
    path = path_of(text)
    if not path.is_file():
        raise ValueError
    return path


def _flag(text: str) -> bool:
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if text.lower() not in words:
        raise ValueError
    return words[text.lower()]


def choice(*words: str) -> Kind:
    pattern = "|".join(map(re.escape, words))
    return Kind(_matching(pattern), f"one of {', '.join(words)}", f"{{{','.join(words)}}}")


PORT = Kind(_bounded(int, 0, 65535), "a port (1-65535, or 0 for any free one)", "PORT")
COUNT = Kind(_bounded(int, 1, 1_000_000), "a whole number from 1", "N")
COUNT_OR_ZERO = Kind(_bounded(int, 0, 1_000_000), "a whole number from 0", "N")
RATE = Kind(_bounded(int, 0, 10**12), "a whole number of bytes per second from 0", "BYTES")
SECONDS = Kind(_bounded(float, 0.001, 1e9), "a number of seconds above 0", "SECONDS")
ADDRESS = Kind(_matching(r"[^\s/]+"), "a host name or an address", "HOST")
TEXT = Kind(_matching(r"\S+"), "a value without spaces", "VALUE")
ACCOUNT = Kind(_matching(r"[0-9]{12}"), "an account (12 digits)", "ACCOUNT")
REGION = Kind(_matching(r"[a-z]{2,}(-[a-z]+)+-[0-9]+"), "a region such as us-east-1", "REGION")
PATH = Kind(path_of, "a path", "PATH")
PATHS = Kind(_paths, "a list of paths with colons between", "PATHS")
FILE = Kind(file_of, "an existing file", "FILE")
SWITCH = Kind(_flag, "true or false", "true|false")
ENDPOINTS = Kind(
    neighbours.parse, "a URL, or a list such as http://localhost:4566,s3=http://localhost:9000", "URLS"
)
IMAGES = Kind(
    image_choice.parse,
    "own or aws, and pairs such as python3.12=registry.local/py:3.12",
    "own|aws|RUNTIME=IMAGE",
)
