"""Values that must not lie in the database as they are: encrypted with a key that lies elsewhere.

AES-256 in Galois/Counter Mode with a random nonce for each value, so what was changed, or moved to another record, does
not open. A sealed value is text, `sealed:1:<key's mark>:<base64>`; the mark tells a wrong key from a damaged value. The
key's file holds 32 bytes in base64. What is sealed, and where it belongs, is not known here.
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
KEY_SIZE = 32
_NONCE_SIZE = 12
_FORM = "sealed:1"
_OTHERS = 0o077


class Vault:
    """Seals and opens with the key in one file. Until there is a key, nothing opens; `ensure_key` makes one."""

    def __init__(self, path: Path) -> None:
        """Raises `KeyRefused` where the file holds no key."""
        self._path = path
        self._cipher: AESGCM | None = None
        self._mark = ""
        try:
            text = path.read_bytes()
            mode = path.stat().st_mode
        except FileNotFoundError:
            return
        except OSError as error:
            raise KeyRefused(f"The key {path} cannot be read: {error.strerror}.") from error
        if mode & _OTHERS:
            _log.warning("the key %s is open to other users of this machine: chmod 600 it", path)
        self._use(_parsed(text, path))

    def __repr__(self) -> str:
        return f"<Vault [{self._mark or 'no key'} in {self._path}]>"

    def ensure_key(self) -> None:
        """Make a key if there is none. Only for where nothing is sealed yet."""
        if self._cipher is None:
            key = secrets.token_bytes(KEY_SIZE)
            _write(self._path, base64.b64encode(key) + b"\n")
            self._use(key)

    def seal(self, value: bytes, context: bytes) -> str:
        """The value as it may be stored; it opens only in the same context."""
        if self._cipher is None:
            raise self._missing()
        nonce = secrets.token_bytes(_NONCE_SIZE)
        sealed = nonce + self._cipher.encrypt(nonce, value, context)
        return f"{_FORM}:{self._mark}:{base64.b64encode(sealed).decode()}"

    def open(self, sealed: str, context: bytes) -> bytes:
        """What was sealed. Raises `KeyRefused` where the key is missing or another, ValueError where it is damaged."""
        form, _, rest = sealed.rpartition(":")
        form, _, mark = form.rpartition(":")
        if form != _FORM:
            raise ValueError("what is encrypted has a form that this program does not know")
        if self._cipher is None:
            raise self._missing()
        if mark != self._mark:
            raise KeyRefused(
                f"The functions' environment variables were encrypted with another key than the one in {self._path} "
                f"(theirs is marked {mark}, this one {self._mark}). Put theirs there, or name its file with the "
                "setting key_file."
            )
        try:
            data = base64.b64decode(rest, validate=True)
            return self._cipher.decrypt(data[:_NONCE_SIZE], data[_NONCE_SIZE:], context)
        except (binascii.Error, ValueError, InvalidTag):
            raise ValueError("what is encrypted was damaged or belongs to another record") from None

    def _use(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._mark = hashlib.sha256(b"berth key\0" + key).hexdigest()[:8]

    def _missing(self) -> KeyRefused:
        return KeyRefused(
            f"The functions' environment variables are encrypted, and their key {self._path} is missing. Put it back "
            "from a backup, or name its file with the setting key_file. Without the key the variables are lost: "
            "begin with another data directory."
        )


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
