"""Runs one of Slurm's commands: an argument list, a small environment, a bound on time and on output."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from fabrique.core.errors import FabriqueError

MOST_OUTPUT: Final = 512 * 1024 * 1024
_MOST_ERRORS: Final = 8 * 1024 * 1024
_STEP: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    output: bytes
    errors: bytes

    @property
    def why(self) -> str:
        """Its last words, fit to be shown."""
        lines = [line for line in self.errors.decode("utf-8", "replace").splitlines() if line.strip()]
        said = lines[-1] if lines else f"exit {self.code}"
        return "".join(sign if sign.isprintable() else " " for sign in said)[:300].strip()


def run(
    command: Sequence[str],
    environment: Mapping[str, str],
    timeout_s: float,
    given: bytes = b"",
    keep: Sequence[int] = (),
) -> Ran:
    """`given` is its standard input, `keep` are descriptors that it may read.

    Raises `engine.unavailable` when it can't be started, takes longer or says more than it may; it is then ended.
    """
    name = os.path.basename(command[0])  # noqa: PTH119 - a name, not a path
    with _standing(given) as source:
        try:
            process = subprocess.Popen(
                list(command),
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environment),
                cwd="/",
                pass_fds=tuple(keep),
                start_new_session=True,
            )
        except OSError as error:
            raise FabriqueError("engine.unavailable", why=f"{name}: {error.strerror}") from None
    try:
        output, errors = _gather(process, time.monotonic() + timeout_s)
        code = process.wait(timeout=max(0.1, timeout_s))
    except (_TooMuchError, subprocess.TimeoutExpired) as error:
        raise FabriqueError("engine.unavailable", why=f"{name}: {error or 'too slow'}") from None
    finally:
        _end(process)
    return Ran(code, output, errors)


class _TooMuchError(Exception):
    """It took too long or said too much."""


def _gather(process: subprocess.Popen[bytes], until: float) -> tuple[bytes, bytes]:
    assert process.stdout is not None and process.stderr is not None  # noqa: S101 - both are pipes
    output, errors = process.stdout.fileno(), process.stderr.fileno()
    parts: dict[int, list[bytes]] = {output: [], errors: []}
    left = {output: MOST_OUTPUT, errors: _MOST_ERRORS}
    with selectors.DefaultSelector() as watch:
        for pipe in parts:
            watch.register(pipe, selectors.EVENT_READ)
        while watch.get_map():
            remaining = until - time.monotonic()
            ready = watch.select(remaining) if remaining > 0 else []
            if not ready:
                raise _TooMuchError("no answer in time")
            for key, _ in ready:
                data = os.read(key.fd, _STEP)
                if not data:
                    watch.unregister(key.fd)
                    continue
                parts[key.fd].append(data)
                left[key.fd] -= len(data)
                if left[key.fd] < 0:
                    raise _TooMuchError("an answer without end")
    return b"".join(parts[output]), b"".join(parts[errors])


def _end(process: subprocess.Popen[bytes]) -> None:
    """The command, with whatever it started; its pipes are closed."""
    if process.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


@contextmanager
def _standing(data: bytes) -> Iterator[int]:
    """A descriptor to read `data` from: a whole file, so that a command that does not read never blocks us."""
    descriptor = written("given", data)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def written(name: str, data: bytes) -> int:
    """An anonymous file in memory with `data`, read from its start; the caller closes it."""
    descriptor = os.memfd_create(name)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
        os.lseek(descriptor, 0, os.SEEK_SET)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
