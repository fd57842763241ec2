"""X-Ray's trace header, as far as an invocation needs one: nothing is traced here."""

import re
import time

from rapid.identifiers import random_hex

_ROOT = re.compile(r"Root=1-[0-9a-fA-F]{8}-[0-9a-fA-F]{24}")


def trace_header(sent: str | None) -> str:
    """The trace header of an invocation: the caller's if it names a root, else a new one that is not sampled."""
    if sent and _ROOT.search(sent):
        return sent
    root = f"1-{int(time.time()):08x}-{random_hex(24)}"
    return f"Root={root};Parent={random_hex(16)};Sampled=0"
