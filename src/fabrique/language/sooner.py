"""A change that would start a job sooner, in one line: what is asked otherwise, when it starts then, at what price."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fabrique.core.admission.explain import Change
from fabrique.language.marks import msg

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

_WHAT: Final = {
    "walltime": msg("With a walltime of {after} instead of {before}"),
    "devices": msg("With {after} instead of {before} accelerators"),
    "cores": msg("With {after} instead of {before} cores"),
    "kind": msg("On {after}"),
    "power": msg("At {after} per accelerator instead of {before}"),
}


def sentence(speaker: Speaker, change: Change, now_ms: int) -> str:
    """`With 4 h instead of 24 h: now.` The price stands behind it as far as it is known."""
    what = speaker.text(
        _WHAT[change.kind], after=_value(speaker, change, change.after), before=_value(speaker, change, change.before)
    )
    return speaker.text(msg("{what}: {then}."), what=what, then=", ".join(_then(speaker, change, now_ms)))


def _value(speaker: Speaker, change: Change, value: int | str) -> str:
    if isinstance(value, str):
        return speaker.kind(value)
    if change.kind == "walltime":
        return speaker.duration(value)
    if change.kind == "power":
        return speaker.power(value)
    return speaker.number(Fraction(value, 1000))


def _then(speaker: Speaker, change: Change, now_ms: int) -> Iterator[str]:
    if change.starts_ms <= now_ms:
        yield speaker.text(msg("it starts now"))
    else:
        yield speaker.text(msg("it starts by {time}"), time=speaker.instant(change.starts_ms))
    if change.extra_ms is None:
        yield speaker.text(msg("how long it then runs is not known"))
    elif change.extra_ms:
        yield speaker.text(msg("and may run {extra} longer"), extra=speaker.duration(change.extra_ms))
    if change.energy_permille is not None and change.energy_permille != 1000:
        less = change.energy_permille < 1000
        text = msg("using {share} less energy") if less else msg("using {share} more energy")
        yield speaker.text(text, share=speaker.percent(abs(1000 - change.energy_permille)))
