"""Values that must not lie in the database as they are: encrypted with a key that lies elsewhere.

AES-256 in Galois/Counter Mode with a random nonce for each value, so what was changed, or moved to another record, does
not open. A sealed value is text, `sealed:1:<key's mark>:<base64>`; the mark tells a wrong key from a damaged value. The
key's file holds 32 bytes in base64. What is sealed, and where it belongs, is not known here.

A key is changed by laying the next one beside it (`<name>.next`). While both are there, both open and the next one seals;
when nothing is sealed with the former any more, the next one takes its name. So whatever interrupts this, both keys are
there for as long as they are needed.
"""

import base64
import binascii
import hashlib
import logging
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from runtime.files import naming_full_disk, sync_directory
from runtime.store.errors import KeyRefused

_log = logging.getLogger(__name__)

KEY_NAME = "variables.key"
"""The key's file beside the database, where no other is named."""
NEXT = ".next"
"""After the key's name: the key that is to take its place."""
KEY_SIZE = 32
_NONCE_SIZE = 12
_FORM = "sealed:1"
_OTHERS = 0o077


class Vault:
    """Seals and opens with the key in one file. Until there is a key, nothing opens; `ensure_key` makes one."""

    def __init__(self, path: Path) -> None:
        """Raises `KeyRefused` where the file holds no key."""
        self._path = path
        self._ciphers: dict[str, AESGCM] = {}
        """By the mark of their keys."""
        self._mark = ""
        """Of the key that seals."""
        self.is_changing = False
        """Whether the next key is there."""
        if (key := _read(path)) is not None:
            self._use(key)
        if (key := _read(next_key(path))) is not None:
            self._use(key)
            self.is_changing = True

    def __repr__(self) -> str:
        return f"<Vault [{self._mark or 'no key'} in {self._path}]>"

    def ensure_key(self) -> None:
        """Make a key if there is none. Only for where nothing is sealed yet."""
        if not self._ciphers:
            self._use(_make(self._path))

    def is_sealed_anew(self, sealed: str) -> bool:
        """Whether a value is sealed with the key that seals now."""
        return sealed.startswith(f"{_FORM}:{self._mark}:")

    def finish_change(self) -> None:
        """Nothing is sealed with the former key any more: the next one takes its place."""
        if not self.is_changing:
            return
        try:
            next_key(self._path).replace(self._path)
            sync_directory(self._path.parent)
        except OSError as error:
            _log.warning(
                "functions' environment variables are encrypted with the key in %s, which cannot be given the name %s "
                "(%s): do that by hand; until then both are looked at",
                next_key(self._path), self._path, error.strerror,
            )  # fmt: skip
            return
        self._ciphers = {self._mark: self._ciphers[self._mark]}
        self.is_changing = False

    def seal(self, value: bytes, context: bytes) -> str:
        """The value as it may be stored; it opens only in the same context."""
        if not self._ciphers:
            raise self._missing()
        nonce = secrets.token_bytes(_NONCE_SIZE)
        sealed = nonce + self._ciphers[self._mark].encrypt(nonce, value, context)
        return f"{_FORM}:{self._mark}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str, context: bytes) -> bytes:
        """What was sealed. Raises `KeyRefused` where the key is missing or another, ValueError where it is damaged."""
        form, _, rest = sealed.rpartition(":")
        form, _, mark = form.rpartition(":")
        if form != _FORM:
            raise ValueError("what is encrypted has a form that this program does not know")
        if not self._ciphers:
            raise self._missing()
        if (cipher := self._ciphers.get(mark)) is None:
            raise KeyRefused(
                f"The functions' environment variables were encrypted with another key than the one in {self._path} "
                f"(theirs is marked {mark}, this one {self._mark}). Put theirs there, or name its file with the "
                "setting key_file."
            )
        try:
            data = base64.b64decode(rest, validate=True)
            return cipher.decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], context)
        except (binascii.Error, ValueError, InvalidTag):
            raise ValueError("what is encrypted was damaged or belongs to another record") from None

    def _use(self, key: bytes) -> None:
        self._mark = hashlib.sha256(b"berth key\0" + key).hexdigest()[:8]
        self._ciphers[self._mark] = AESGCM(key)

    def _missing(self) -> KeyRefused:
        return KeyRefused(
            f"The functions' environment variables are encrypted, and their key {self._path} is missing. Put it back "
            "from a backup, or name its file with the setting key_file. Without the key the variables are lost: "
            "begin with another data directory."
        )


def next_key(path: Path) -> Path:
    return path.with_name(path.name + NEXT)


def make_next_key(path: Path) -> None:
    """Lay a next key beside the one of this file, unless there is one already. Raises `KeyRefused`, OSError."""
    if _read(next_key(path)) is None:
        _make(next_key(path))


def _make(path: Path) -> bytes:
    key = secrets.token_bytes(KEY_SIZE)
    _write(path, base64.b64encode(key) + b"\n")
    return key


def _read(path: Path) -> bytes | None:
    """The key in a file; None where there is no such file. Raises `KeyRefused`."""
    try:
        text = path.read_bytes()
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise KeyRefused(f"The key {path} cannot be read: {error.strerror}.") from error
    if mode & _OTHERS:
        _log.warning("the key %s is open to other users of this machine: chmod 600 it", path)
    return _parsed(text, path)


def _parsed(text: bytes, path: Path) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != KEY_SIZE:
        raise KeyRefused(
            f"{path} does not hold a key: {KEY_SIZE} bytes in base64, as `openssl rand -base64 {KEY_SIZE}` makes them."
        )
    return key


def _write(path: Path, text: bytes) -> None:
    """For the owner only, and on the disk before anything is sealed with it; never half of it."""
    draft = path.with_name(path.name + ".new")
    with naming_full_disk("the key of functions' variables"):
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)
        sync_directory(path.parent)
