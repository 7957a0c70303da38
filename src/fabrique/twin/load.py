"""A trace made to measure: arrivals drawn out or pressed together to a load, and consents marked on a real trace."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from fractions import Fraction
from operator import mul
from typing import Final

import numpy as np
import numpy.typing as npt

from fabrique.core.errors import FabriqueError
from fabrique.core.units import divide
from fabrique.twin.trace import Ints, Trace

_MOST_LOAD: Final = 100
_FINEST: Final = 1_000_000  # a load is a fraction with at most this denominator


def offered(trace: Trace, capacity_milli: int) -> int:
    """The load in permille: milli-devices × run, over the capacity × the span of arrivals. Raises `trace.span`."""
    return divide(1_000 * _work(trace), capacity_milli * _span(trace))


def rescaled(trace: Trace, capacity_milli: int, load: Fraction | float) -> Trace:
    """The same jobs in the same order, arriving so that they offer `load` (1 is all of the capacity, all the time).

    Arrivals are drawn out about the first one, each rounded down to a ms. Raises `trace.load`, `trace.span`.
    """
    wanted = _load(load)
    span = _span(trace)
    new_span = divide(_work(trace) * wanted.denominator, capacity_milli * wanted.numerator)
    first = int(trace.submit_ms[0])
    # Python's integers: the products pass 2^63
    submit = [first + (at - first) * new_span // span for at in trace.submit_ms.tolist()]
    if new_span < 1 or submit[-1] >= 1 << 53:
        raise FabriqueError("trace.span", file=trace.source)
    return replace(
        trace,
        digest=_derived(trace, f"rescaled {wanted} of {capacity_milli}"),
        submit_ms=np.array(submit, np.int64),
        said=(
            *trace.said,
            f"Arrivals are rescaled from {_days(span)} to {_days(new_span)} days, for a load of {wanted}.",
        ),
    )


def flexed(
    trace: Trace,
    *,
    flexible_permille: int = 0,
    slack_ms: int = 0,
    preemptible_permille: int = 0,
    tolerant_permille: int = 0,
    tolerance_permille: int = 0,
    seed: int = 0,
) -> Trace:
    """The trace with consents that it does not record, marked on a sample of its jobs: an assumption, and said so.

    Each job consents by a draw of its own; the same seed marks the same jobs, and a larger share marks all those of
    a smaller one. A share of 0 leaves the trace's own column as it is.
    """
    rows = len(trace)

    def drawn(stream: int, permille: int) -> npt.NDArray[np.bool_]:
        return np.random.Generator(np.random.PCG64([seed, stream])).integers(0, 1_000, rows) < permille

    def marked(stream: int, permille: int, value: int, column: Ints) -> Ints:
        return np.where(drawn(stream, permille), value, column)

    choice = (
        f"{flexible_permille} ‰ of jobs may be put off by {slack_ms // 60_000} min, {preemptible_permille} ‰ write "
        f"checkpoints, {tolerant_permille} ‰ may run {tolerance_permille} ‰ longer (sample {seed})"
    )
    return replace(
        trace,
        digest=_derived(trace, f"flexed {choice} {slack_ms}"),
        slack_ms=marked(0, flexible_permille, slack_ms, trace.slack_ms),
        preemptible=marked(1, preemptible_permille, 1, trace.preemptible),
        tolerance_permille=marked(2, tolerant_permille, tolerance_permille, trace.tolerance_permille),
        said=(*trace.said, f"Assumed, not recorded: {choice}."),
    )


def _work(trace: Trace) -> int:
    """Milli-devices × ms, exactly."""
    return sum(map(mul, trace.milli_devices.tolist(), trace.run_ms.tolist()))


def _span(trace: Trace) -> int:
    span = int(trace.submit_ms[-1] - trace.submit_ms[0]) if len(trace) else 0
    if span <= 0:
        raise FabriqueError("trace.span", file=trace.source)
    return span


def _load(load: Fraction | float) -> Fraction:
    try:
        wanted = Fraction(load).limit_denominator(_FINEST)
    except (ValueError, OverflowError):
        wanted = Fraction(0)
    if not 0 < wanted <= _MOST_LOAD:
        raise FabriqueError("trace.load", load=str(load)[:40])
    return wanted


def _derived(trace: Trace, how: str) -> str:
    return hashlib.sha256(f"{trace.digest} {how}".encode()).hexdigest()


def _days(ms: int) -> str:
    return f"{ms / 86_400_000:.1f}"
