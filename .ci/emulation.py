#!/usr/bin/env python3
"""Lets this machine run the other processor's programs: arm64's on x86-64, and the reverse (`make emulation`).

Installs QEMU on Debian and Ubuntu and registers it with the kernel, in a way that containers have it too. It takes root
and lasts until the machine is restarted, unless the system registers it by itself then. Standard library only. Exit
status 0: the programs run. 3: they cannot be made to here, and the last line says why.
"""
# ruff: noqa: T201

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
sys.dont_write_bytecode = True  # `sudo make emulation` would leave files of root's in the checkout

from runtime.tiny_programs import runs_here  # noqa: E402

IMPOSSIBLE = 3
BINFMT = Path("/proc/sys/fs/binfmt_misc")
OTHER = {"x86_64": ("arm64", "aarch64"), "aarch64": ("amd64", "x86_64")}
"""By this machine's processor: the other one, as engines and as QEMU name it."""
MAGIC = {"aarch64": r"\xb7", "x86_64": r"\x3e"}
"""What an ELF file has for its machine."""
ELF = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00"
MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
"""Static and position-independent programs alike, whatever system they say they are for."""


class Impossible(Exception):
    """It cannot be had here; the text says why."""


def main() -> int:
    try:
        processor, machine = OTHER[platform.machine()]
    except KeyError:
        print(f"No emulation: Lambda has no processor like this machine's, {platform.machine()}.")
        return IMPOSSIBLE
    try:
        if not runs_here(processor):
            provide(machine)
            if not runs_here(processor):
                raise Impossible("QEMU is registered with the kernel, but the programs do not run.")
    except Impossible as impossible:
        print(f"No emulation of {processor}: {impossible}")
        return IMPOSSIBLE
    print(f"this machine runs programs for {processor}")
    return 0


def provide(machine: str) -> None:
    if os.geteuid() != 0:
        raise Impossible("installing and registering QEMU takes root. Run `sudo make emulation`.")
    program = shutil.which(f"qemu-{machine}-static") or install(machine)
    if not (BINFMT / "register").exists():
        run(["mount", "-t", "binfmt_misc", "binfmt_misc", str(BINFMT)])
    name = f"qemu-{machine}"
    if (BINFMT / name).exists():  # one that does not work, or not in containers
        (BINFMT / name).write_text("-1")
    # F: opened now, so that containers need not have it. P: programs see the name that they were called by.
    line = f":{name}:M::{ELF}{MAGIC[machine]}\\x00:{MASK}:{preserving(machine) or program}:{'OPF' if preserving(machine) else 'OF'}"
    try:
        (BINFMT / "register").write_text(line)
    except OSError as error:
        raise Impossible(f"the kernel does not take it ({error}).") from None


def preserving(machine: str) -> str | None:
    """QEMU by the name under which Debian's keeps the names that programs are called by."""
    path = Path(f"/usr/libexec/qemu-binfmt/{machine}-binfmt-P")
    return str(path) if path.exists() else None


def install(machine: str) -> str:
    if shutil.which("apt-get") is None:
        raise Impossible(
            f"this script installs QEMU on Debian and Ubuntu only. Install qemu-{machine}-static."
        )
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    run(["apt-get", "update"], quiet)
    command = ["apt-get", "install", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]
    run([*command, "qemu-user-static"], quiet)
    program = shutil.which(f"qemu-{machine}-static")
    if program is None:
        raise Impossible(f"the package qemu-user-static has no qemu-{machine}-static.")
    return program


def run(command: Sequence[str], environ: dict[str, str] | None = None) -> None:
    """Run a command whose output is the progress that people see."""
    print("$ " + " ".join(command), flush=True)
    try:
        subprocess.run(command, check=True, env=environ)
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        raise Impossible(f"`{' '.join(command)}` failed ({error}).") from None


if __name__ == "__main__":
    sys.exit(main())
