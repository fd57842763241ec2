"""Programs of 132 bytes, one for each processor, by which a machine shows whether it runs that processor's programs.

Standard library only: `.ci/emulation.py` uses it before anything is installed.
"""

import struct
import subprocess
import tempfile
from pathlib import Path

STATUS = 42
"""What they end with; an emulator or an engine that fails ends with others."""
RUN_LIMIT = 30.0

_CODE = {
    # exit(42), by the system calls' numbers of each
    "amd64": (62, struct.pack("<BIBIH", 0xBF, STATUS, 0xB8, 60, 0x050F)),
    "arm64": (183, struct.pack("<3I", 0xD2800000 | STATUS << 5, 0xD2800000 | 93 << 5 | 8, 0xD4000001)),
}
"""By processor: its number in ELF files, and the program."""


def runs_here(processor: str) -> bool:
    """Whether this machine, which need not be the engine's, runs programs for a processor. Blocking."""
    with tempfile.TemporaryDirectory(prefix="berth-probe-") as place:
        path = Path(place, "run")
        path.write_bytes(program(processor))
        path.chmod(0o755)
        try:
            return subprocess.run([path], check=False, timeout=RUN_LIMIT).returncode == STATUS
        except (OSError, subprocess.TimeoutExpired):
            return False


def program(processor: str) -> bytes:
    """A static ELF file that ends with `STATUS`."""
    machine, code = _CODE[processor]
    head, segment, base = 64, 56, 0x400000
    size = head + segment + len(code)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    return (
        struct.pack("<16sHHIQ", identity, 2, machine, 1, base + head + segment)
        + struct.pack("<QQIHHHHHH", head, 0, 0, head, segment, 1, 64, 0, 0)
        + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x10000)
        + code
    )
