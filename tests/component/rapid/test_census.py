"""The memory of a sandbox's processes, with real processes of this one; which number was given last is the tests' to say."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from rapid import census
from rapid.census import KEPT, PeakMeter, resident_peak
from tests.helpers.agents import IS_ROOT, status_of, wait_until

MB = 1 << 20
PROLOGUE = "import os, signal, sys, threading"
GROW = "x = bytes(range(64)) * (1 << 20)"
"""64 MB, all of them written to."""


class World:
    """The processes that are listed, and the number that the kernel tells."""

    def __init__(self, loadavg: Path) -> None:
        self.shown: list[int] = []
        self.listings = 0
        self._loadavg = loadavg
        self._started: dict[int, subprocess.Popen[bytes]] = {}
        self.number(100)

    def number(self, last: int) -> None:
        self._loadavg.write_text(f"0.20 0.18 0.12 1/80 {last}\n")

    def start(self, code: str = "", then: str = "") -> int:
        """A process that has done something, and waits to do another thing; not shown yet."""
        program = (
            f"{PROLOGUE}\n{code}\nos.write(1, b'1')\nos.read(0, 1)\n{then}\nos.write(1, b'2')\nos.read(0, 1)"
        )
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", program],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._started[process.pid] = process
        self._await(process, b"1")
        return process.pid

    def go_on(self, pid: int) -> None:
        """Have it do the other thing."""
        process = self._started[pid]
        assert process.stdin is not None
        process.stdin.write(b"!")
        self._await(process, b"2")

    def _await(self, process: subprocess.Popen[bytes], word: bytes) -> None:
        assert process.stdout is not None
        assert process.stdout.read(1) == word
        wait_until(
            lambda: status_of(process.pid)["State"] == "S (sleeping)"
        )  # nothing of it changes any more

    def show(self, pid: int) -> int:
        self.shown.append(pid)
        return pid

    def list(self) -> Sequence[int]:
        self.listings += 1
        return list(self.shown)

    def end(self, pid: int) -> None:
        self.shown.remove(pid)
        os.kill(pid, signal.SIGKILL)
        self._started[pid].wait()

    def close(self) -> None:
        for each in self._started.values():
            each.kill()
            each.communicate()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    world = World(tmp_path / "loadavg")
    monkeypatch.setattr(census, "members", world.list)
    monkeypatch.setattr(census, "_open_last_number", lambda: os.open(tmp_path / "loadavg", os.O_RDONLY))
    monkeypatch.setattr(census, "STALE", 3600.0)
    try:
        yield world
    finally:
        world.close()


def peaks(pids: Sequence[int]) -> int:
    """What the kernel says, looked up anew."""
    return sum(int(status_of(pid)["VmHWM"].split()[0]) * 1024 for pid in pids)


def _is_asleep(pid: int) -> bool:
    return status_of(pid)["State"] == "S (sleeping)"


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nobody_is_listed_twice_for_nothing(world: World) -> None:
    """While no number is given there is nobody new, and the memory is what the known ones say."""
    pid = world.show(world.start())
    meter = PeakMeter()
    assert [meter.total() for _ in range(10)] == [peaks([pid])] * 10
    assert world.listings == 2


def test_a_number_is_given_before_its_process_can_be_seen(world: World) -> None:
    """
    1. A number is given; the process is not there yet when it is looked for.
    2. Result: the next look finds it, though no number was given since; and all looks after that.
    """
    first, second = world.show(world.start()), world.start()
    meter = PeakMeter()
    meter.total()
    meter.total()
    world.number(101)
    assert meter.total() == peaks([first])
    world.show(second)
    assert [meter.total() for _ in range(3)] == [peaks([first, second])] * 3


def test_whoever_hides_behind_all_numbers_is_found(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while they are listed in any case: the same number may have been given again, after all the others."""
    first = world.show(world.start())
    meter = PeakMeter()
    meter.total()
    meter.total()
    second = world.show(world.start())
    assert meter.total() == peaks([first])
    monkeypatch.setattr(census, "STALE", 0.0)
    assert meter.total() == peaks([first, second])


def test_the_dead_take_nothing(world: World) -> None:
    """One that has ended counts no more, and its number may be another's: they are listed at once."""
    first, second = world.show(world.start()), world.show(world.start())
    meter = PeakMeter()
    meter.total()
    meter.total()
    world.end(first)
    third = world.show(world.start())
    assert meter.total() == peaks([second, third])


def test_zombies_take_nothing(world: World) -> None:
    """The dead that nobody has reaped have a status without memory."""
    pid = world.show(world.start())
    meter = PeakMeter()
    assert meter.total() > 0
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: status_of(pid)["State"] == "Z (zombie)")
    assert [meter.total() for _ in range(3)] == [0, 0, 0]
    assert resident_peak(pid) == 0


def test_what_has_grown_since(world: World) -> None:
    """The known are asked anew, and tell the most that they had."""
    pid = world.show(world.start(then=f"{GROW}; del x"))
    meter = PeakMeter()
    before = max(meter.total(), meter.total())
    world.go_on(pid)
    assert meter.total() - before > 50 * MB
    assert meter.total() == peaks([pid])
    assert world.listings == 2


def test_frozen(world: World) -> None:
    """Those that are stopped tell as much as before."""
    pid = world.show(world.start())
    meter = PeakMeter()
    before = max(meter.total(), meter.total())
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: status_of(pid)["State"] == "T (stopped)")
    assert meter.total() == before


PROGRAM = f"import os; {GROW}; os.write(1, b'2'); os.read(0, 1)"
EXECUTE = f"os.execv({sys.executable!r}, ['python', '-I', '-S', '-c', {PROGRAM!r}])"
EXECUTIONS = {
    "by the first thread": EXECUTE,
    "by another thread": f"t = threading.Thread(target=lambda: {EXECUTE}); t.start(); t.join()",
}


@pytest.mark.parametrize("way", EXECUTIONS)
def test_another_program(world: World, way: str) -> None:
    """A process that executes another program is the same one still, whichever of its threads does it."""
    pid = world.show(world.start(then=EXECUTIONS[way]))
    meter = PeakMeter()
    before = max(meter.total(), meter.total())
    world.go_on(pid)
    assert meter.total() - before > 50 * MB
    assert meter.total() == peaks([pid])
    assert world.listings == 2


@pytest.mark.skipif(not IS_ROOT, reason="only root can become somebody else")
def test_another_user(world: World) -> None:
    """Whose a process is makes no difference, nor that it has become somebody else's."""
    pid = world.show(world.start(then="os.setgroups([]); os.setgid(990); os.setuid(993)"))
    meter = PeakMeter()
    meter.total()
    meter.total()
    world.go_on(pid)
    assert status_of(pid)["Uid"].split() == ["993"] * 4
    assert meter.total() == peaks([pid])
    assert world.listings == 2


def test_more_than_are_kept_open(world: World) -> None:
    """Of any number of processes a few are kept open, and all are counted; when they are gone none is open."""
    meter = PeakMeter()
    meter.total()
    before = open_files()
    pids = [world.show(os.fork() or _pause()) for _ in range(3 * KEPT)]
    try:
        for pid in pids:
            wait_until(partial(_is_asleep, pid))
        world.number(200)
        assert [meter.total() for _ in range(4)] == [peaks(pids)] * 4
        assert world.listings == 3
        assert open_files() - before == KEPT
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    world.shown.clear()
    assert meter.total() == 0
    assert open_files() == before


def _pause() -> int:
    signal.pause()
    os._exit(0)


def test_a_name_that_says_what_it_takes(world: World) -> None:
    """A process cannot lie about its memory by how it calls itself."""
    code = "open('/proc/self/comm', 'w').write('\\nVmHWM: 9 kB')"
    pid = world.show(world.start(code))
    assert "VmHWM" in Path(f"/proc/{pid}/comm").read_text()
    meter = PeakMeter()
    assert [meter.total(), meter.total(), resident_peak(pid)] == [peaks([pid])] * 3
    assert peaks([pid]) > MB


@pytest.mark.skipif(not IS_ROOT, reason="only root can be in groups at will")
def test_many_groups(world: World) -> None:
    """However long the lines before it, the line with the memory is found."""
    pid = world.show(world.start("os.setgroups(range(100_000, 160_000))"))
    meter = PeakMeter()
    assert [meter.total(), meter.total(), resident_peak(pid)] == [peaks([pid])] * 3
    assert peaks([pid]) > MB


def test_nobody_tells_the_last_number(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then they are listed each time."""
    monkeypatch.setattr(census, "_open_last_number", lambda: -1)
    meter = PeakMeter()
    first = world.show(world.start())
    assert meter.total() == peaks([first])
    second = world.show(world.start())
    assert [meter.total() for _ in range(3)] == [peaks([first, second])] * 3
    assert world.listings == 4


def test_the_last_number_is_the_kernel_s() -> None:
    """A number that is given is the last one told, until the next one is given."""
    file = census._open_last_number()
    try:
        before = os.pread(file, 128, 0)
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)
        assert os.pread(file, 128, 0).split()[-1] != before.split()[-1]
    finally:
        os.close(file)
