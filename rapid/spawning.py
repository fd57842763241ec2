"""How a function's process is begun: fork, the function's user, its directory and its program, in this order.

Runs inside the sandbox: standard library only, and little of it. What fails is told in the words that Lambda shows; what
becomes of a process that has begun is its caller's to see.
"""

from __future__ import annotations

import os
import resource
import signal

TYPE_CHECKING = False  # `typing` itself would cost a cold start 3 ms
if TYPE_CHECKING:
    from typing import NoReturn

USER, GROUP = 993, 990
"""Lambda's `sbx_user1051`."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What ends the agent: handled there, and to be as at birth in what it starts."""
INHERITED = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
"""What `nohup` and shells let their children ignore, and so the agent where it is no container's first process."""


class NotStarted(Exception):
    """A process could not be started; `stage` says at which step."""

    def __init__(self, stage: str, error: str) -> None:
        super().__init__(f"{stage}: {error}")
        self.stage = stage
        self.error = error


def spawn(
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    log_fd: int | None = None,
    *,
    files: int | None = None,
    demote: bool = True,
) -> tuple[int, dict[int, int]]:
    """Start a process in a session of its own; its pid, and the read ends of its stdout and stderr.

    As `log_fd` it gets its stdout once more: one pipe keeps what is written to both in order. No more than `files` can
    be open in it. Root becomes the function's user (`demote`).

    Plain fork and exec: the agent has one thread, and `subprocess` would cost every cold start its import.
    Raises `NotStarted`.
    """
    out, out_end = os.pipe2(os.O_CLOEXEC)
    err, err_end = os.pipe2(os.O_CLOEXEC)
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        pid = os.fork()
    except OSError as error:
        for fd in (out, out_end, err, err_end, told, tell):
            os.close(fd)
        raise NotStarted("fork", str(error)) from None
    if not pid:
        copies = [(out_end, 1), (err_end, 2)] + ([] if log_fd is None else [(1, log_fd)])
        _become(argv, env, cwd, copies, tell, files=files, demote=demote)
    for fd in (out_end, err_end, tell):
        os.close(fd)
    with os.fdopen(told, "rb") as report:
        failure = report.read().decode()
    if failure:
        os.waitpid(pid, 0)
        os.close(out)
        os.close(err)
        raise NotStarted(*failure.split("\0", 1))
    os.set_blocking(out, False)
    os.set_blocking(err, False)
    return pid, {out: 1, err: 2}


def _become(
    argv: list[str],
    env: dict[str, str],
    cwd: str,
    copies: list[tuple[int, int]],
    tell: int,
    *,
    files: int | None,
    demote: bool,
) -> NoReturn:
    """In the child: drop privileges and execute. What fails is told through the pipe `tell`.

    `copies` are descriptors, and those that the program is to have them as; in this order.
    """
    stage = "fork"
    try:
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD, *STOP_SIGNALS, *INHERITED):
            signal.signal(number, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDONLY)
        for fd, target in ((null, 0), *copies):
            if target == tell:
                tell = os.dup(tell)  # to be closed by the execution, as it was
            os.dup2(fd, target)
        _prefer_as_victim()
        if files is not None:
            _limit_files(files)
        if demote and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(GROUP)
            os.setuid(USER)
        os.umask(0o022)
        stage = "chdir"
        os.chdir(cwd)
        stage = "exec"
        argv[0] = _program(argv[0], env.get("PATH", ""))
        os.execve(argv[0], argv, env)  # noqa: S606
    except NotStarted as reason:
        os.write(tell, f"{reason.stage}\0{reason.error}".encode())
    except OSError as error:
        os.write(tell, f"{stage}\0{_exec_text(stage, argv[0], cwd, error)}".encode())
    except ValueError:  # a NUL character somewhere in the strings
        os.write(tell, f"{stage}\0fork/exec {argv[0]}: invalid argument".encode())
    finally:
        os._exit(127)


def _program(name: str, path: str) -> str:
    """The path of a program. Of several places the first counts that has a file, whether it can be executed or not.

    A bare name is looked for in `path`, where it has to be executable; as in AWS's own launcher, which is written in Go.
    """
    if "/" not in name:
        for directory in path.split(":"):
            found = f"{directory or '.'}/{name}"
            if os.access(found, os.X_OK) and not os.path.isdir(found):
                return found
        raise NotStarted("exec", f'exec: "{name}": executable file not found in $PATH')
    if not name.startswith(":"):
        return name
    places = name[1:].split(":")
    for place in places:
        if os.path.exists(place) and not os.path.isdir(place):
            return place
    raise NotStarted("exec", f"Couldn't find valid bootstrap(s): [{' '.join(places)}]")


def _exec_text(stage: str, program: str, cwd: str, error: OSError) -> str:
    """The failure in the words that Lambda shows."""
    reason = (error.strerror or "unknown error").lower()
    return f"chdir {cwd}: {reason}" if stage == "chdir" else f"fork/exec {program}: {reason}"


def _limit_files(most: int) -> None:
    """As many at the most; nobody here may raise what a sandbox was made with."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    number = most if allowed == resource.RLIM_INFINITY else min(most, allowed)
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, number))


def _prefer_as_victim() -> None:
    """Out of memory, the kernel is to kill the function and never the agent."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("1000")
    except OSError:
        pass  # where /proc is read-only the kernel still picks the largest process, which is not the agent
