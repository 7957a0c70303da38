"""Between the shim and the job, inside the job's isolation: starts the job, waits for it, leaves nothing behind.

Where the isolation has a process space of its own the keeper is its process 1. It goes when the shim goes, and takes
every process of the run with it. Imported by the shim: the standard library only, and little of it.

It reads its plan (one JSON object) from a pipe until the end: an empty plan means that the shim is gone. It answers on
another pipe, in lines: `{"began": true}` and then `{"status": …, "cpu_ms": …, "max_rss": …}`; or `{"error": …}` when
the job could not be started, with `interpreter` where it is the script's that can't be run. No path of the hub's is
in it: it is told to people.
"""

# ruff: noqa: S606 - becoming another program is what it is for

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import signal
import sys

from fabrique.engines import kernel, limits, processes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    Plan = dict[str, Any]

_TELLS = {signal.SIGCHLD, signal.SIGTERM}
_NEVER_BEGAN = 127
_NO_PROGRAM = {errno.ENOENT, errno.EACCES, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR}


class NotBegunError(Exception):
    """The job's process never became the job; `answer` says why."""

    def __init__(self, answer: dict[str, object]) -> None:
        super().__init__(answer)
        self.answer = answer


def why(error: BaseException) -> str:
    """What went wrong, in the system's words, without the path that it concerns."""
    told = error.strerror if isinstance(error, OSError) else str(error)
    return (told or type(error).__name__)[:500]


def keep(plan_pipe: int, answer_pipe: int, output_pipe: int) -> NoReturn:
    """The keeper's whole life, in a process of its own."""
    kernel.die_with_parent(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, _TELLS)
    kernel.become_subreaper()
    text = _read_all(plan_pipe)
    if not text:
        os._exit(0)
    try:
        plan = json.loads(text)
        os.umask(0o022)  # folders made on the way to the job's own are for passing through
        if plan["steps"]:
            kernel.arrange(plan["steps"])
        job = _start(plan, output_pipe)
    except NotBegunError as error:
        _answer(answer_pipe, error.answer)
    except (OSError, ValueError) as error:
        _answer(answer_pipe, {"error": why(error)})
    else:
        os.close(output_pipe)
        _answer(answer_pipe, {"began": True})
        status = _wait(job)
        _end_the_rest()
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_ms = int((used.ru_utime + used.ru_stime) * 1000)
        _answer(answer_pipe, {"status": status, "cpu_ms": cpu_ms, "max_rss": used.ru_maxrss * 1024})
    os._exit(0)


def main() -> NoReturn:
    """Started anew inside a sandbox: the pipes are the three numbers given."""
    pipes = [int(text) for text in sys.argv[1:4]]
    for descriptor in pipes:
        os.set_inheritable(descriptor, False)
    keep(*pipes)


def _start(plan: Plan, output_pipe: int) -> int:
    """The job's pid, once it is surely running its own program. Raises NotBegunError with what stood in the way."""
    keeper = os.getpid()
    trouble, telling = os.pipe()
    job = os.fork()
    if job == 0:
        try:
            _become(plan, output_pipe, keeper)
        except BaseException as error:
            os.write(telling, json.dumps(_trouble(error, plan["program"])).encode())
        os._exit(_NEVER_BEGAN)
    os.close(telling)
    told = _read_all(trouble)
    if told:
        os.waitpid(job, 0)
        raise NotBegunError(json.loads(told))
    return job


def _trouble(error: BaseException, program: str) -> dict[str, object]:
    """The answer for an error on the way to the program; a script that is there lacks its interpreter."""
    answer: dict[str, object] = {"error": why(error)}
    if isinstance(error, OSError) and error.errno in _NO_PROGRAM and error.filename == program:
        interpreter = _interpreter(program)
        if interpreter:
            answer["interpreter"] = interpreter
    return answer


def _interpreter(script: str) -> str:
    """What its first line names, made safe to print; "" where it names none or can't be read."""
    try:
        with open(script, "rb") as file:
            first = file.read(256).partition(b"\n")[0]
    except OSError:
        return ""
    words = first.removeprefix(b"#!").strip(b" \t").split() if first.startswith(b"#!") else []
    if not words:
        return ""
    ending = "\\r" if first.endswith(b"\r") and len(words) == 1 else ""  # lines that end as on Windows
    text = words[0].decode("utf-8", "backslashreplace")[:200] + ending
    return "".join(c if c.isprintable() else "\ufffd" for c in text)


def _become(plan: Plan, output_pipe: int, keeper: int) -> None:
    """Turn this process into the job; returns only by an exception."""
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
    os.dup2(output_pipe, 1)
    os.dup2(output_pipe, 2)
    for number in (*range(1, 32), *range(34, 65)):
        if number not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
    limits.apply()
    _go_first_when_memory_ends()
    if plan["cores"]:
        os.sched_setaffinity(0, plan["cores"])
    if plan["uid"] is not None:
        os.setgroups([])
        os.setresgid(plan["uid"], plan["uid"], plan["uid"])
        os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    kernel.no_new_privileges()
    kernel.die_with_parent(signal.SIGKILL)
    if os.getppid() != keeper:
        os._exit(_NEVER_BEGAN)
    os.chdir(plan["work"])
    os.umask(0o077)
    if plan["landlock"]:
        from fabrique.engines import landlock

        landlock.restrict(**plan["landlock"])
    _run(plan["program"], plan["environment"])


def _run(program: str, environment: dict[str, str]) -> NoReturn:
    try:
        os.execve(program, [program], environment)
    except OSError as error:
        if error.errno != 8:  # ENOEXEC: no interpreter line, so it is the shell's
            raise
    os.execve("/bin/sh", ["sh", program], environment)


def _go_first_when_memory_ends() -> None:
    """When the machine itself runs out of memory, a job goes before the hub."""
    # A container may forbid it; the run's own limit still holds.
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("500")


def _wait(job: int) -> int:
    """The job's wait status; every other child is reaped on the way. Ends everything when the shim is gone."""
    while True:
        if signal.sigwait(_TELLS) == signal.SIGTERM:
            _end_the_rest()
            os._exit(0)
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            if pid == job:
                return status


def _end_the_rest() -> None:
    """KILL and reap until nothing of the run is left."""
    alone = os.getpid() == 1
    while True:
        if alone:
            processes.send(-1, signal.SIGKILL)
        else:
            processes.end_below(os.getpid())
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _read_all(pipe: int) -> bytes:
    parts = []
    while part := os.read(pipe, 65_536):
        parts.append(part)
    os.close(pipe)
    return b"".join(parts)


def _answer(pipe: int, answer: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the shim is gone, and with it whoever wanted to know
        os.write(pipe, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
