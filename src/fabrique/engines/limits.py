"""What a run may not pass, and how it is ended when it does.

Imported by the shim: the standard library only, and little of it. Times are monotonic milliseconds.
"""

from __future__ import annotations

import resource

MOST_PROCESSES = 16_384  # processes and threads of one user: a guard against fork bombs, not a quota


def apply() -> None:
    """Limits on the process about to become the job: no core file, no fork bomb."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = MOST_PROCESSES if hard == resource.RLIM_INFINITY else min(MOST_PROCESSES, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


class Ending:
    """How a run is being ended: TERM at `term_at`, KILL at `kill_at`."""

    __slots__ = ("cause", "kill_at", "term_at", "termed")

    def __init__(self, cause: str, term_at: int, grace: int) -> None:
        self.cause = cause
        self.term_at = term_at
        self.kill_at = term_at + grace
        self.termed = False


class Limits:
    """Decides, from what is seen, when the run gets its warning, its TERM and its KILL, and under which cause.

    Of several reasons the first that took effect stands: a later one only makes the end come sooner.
    """

    def __init__(
        self, start: int, walltime: int, lead: int, grace: int, memory: int | None, warns: bool, output: int
    ) -> None:
        self.start = start
        self.lead = lead if warns else 0
        self.grace = grace
        self.memory = memory
        self.output = output
        self.warned = not warns
        self.warn_at = start + max(0, walltime - lead)
        self.ending = Ending("walltime", start + walltime, grace)

    def cancel(self, now: int, grace: int) -> None:
        self._end("cancelled", now, grace)

    def shut_down(self, now: int) -> None:
        """The machine, or whoever looks after it, wants the shim itself to go."""
        self._end("lost", now, self.grace)

    def preempt(self, now: int) -> None:
        if self.ending.cause == "walltime":
            self.warn_at = min(self.warn_at, now)
            self._end("preempted", now + self.lead, self.grace)

    def see(self, now: int, memory: int, output: int) -> None:
        """Memory and output in bytes; the first is ended at once, for it is everybody's."""
        if self.memory is not None and memory > self.memory:
            self._end("memory", now, 0)
        if output > self.output:
            self._end("output", now, self.grace)

    def wants_warning(self, now: int) -> bool:
        return not self.warned and now >= self.warn_at and not self.ending.termed

    def wants_term(self, now: int) -> bool:
        return not self.ending.termed and now >= self.ending.term_at

    def wants_kill(self, now: int) -> bool:
        return now >= self.ending.kill_at

    def next_at(self, now: int) -> int:
        """When this next has something to say."""
        times = [self.ending.kill_at if self.ending.termed else self.ending.term_at]
        if not self.warned and self.warn_at > now:
            times.append(self.warn_at)
        return min(times)

    def took_effect(self) -> bool:
        """Whether the run, if it ends now, ends by this and not by itself."""
        warned = self.ending.cause == "preempted" and self.warned and self.lead > 0
        return self.ending.termed or warned

    def _end(self, cause: str, term_at: int, grace: int) -> None:
        current = self.ending
        if current.termed:
            current.kill_at = min(current.kill_at, term_at + grace)
        elif term_at <= current.term_at:
            self.ending = Ending(cause, term_at, grace)
