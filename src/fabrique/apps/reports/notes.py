"""What a line's numbers rest on, in words: whence its energy, which factor, which rate, and the cause of a refund."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from fabrique.apps.reports.assumptions import Assumption, rate_name
from fabrique.apps.reports.statement import StatementLine
from fabrique.core import reasons
from fabrique.core.units import MG, MJ, is_money
from fabrique.language import provenance
from fabrique.language.marks import msg
from fabrique.language.say import Speaker

_FACTOR: Final[Mapping[str, str]] = {
    "average": msg("average"),
    "marginal": msg("marginal"),
    "lifecycle": msg("life cycle"),
    "direct": msg("direct emissions"),
    "consumption": msg("of consumption"),
    "production": msg("of production"),
    "location": msg("location-based"),
    "market": msg("market-based"),
}


class Notes:
    """Numbers each distinct note once, from 1, in the order it is first needed."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker
        self._numbers: dict[str, int] = {}

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(self._numbers)

    def of(self, line: StatementLine) -> list[int]:
        return [self._numbers.setdefault(t, len(self._numbers) + 1) for t in _texts(line, self.speaker)]


def _texts(line: StatementLine, speaker: Speaker) -> Iterator[str]:
    if "code" in line.facts:
        yield cause(line.facts, speaker)
    if line.what != "debit":
        return
    if line.amount(MJ) is not None:
        yield energy(line.facts.get("energy"), speaker)
    if line.amount(MG) is not None:
        yield factor(line.facts.get("factor"), speaker)
    if any(is_money(figure.unit) for figure in line.amounts):
        name = rate_name(line.facts)
        yield speaker.text("Price: rate {rate}.", rate=name) if name else speaker.text("Price: rate not recorded.")


def cause(facts: Mapping[str, object], speaker: Speaker) -> str:
    """A refund's or a rebate's reason; one that the list does not know is shown as it was written."""
    try:
        return speaker.reason(reasons.from_json(facts))
    except (KeyError, ValueError, TypeError):
        return str(facts["code"])[:200]


def energy(data: object, speaker: Speaker) -> str:
    if not isinstance(data, Mapping) or "basis" not in data:
        return speaker.text("Energy: provenance not recorded.")
    how, error = provenance.how(speaker, str(data.get("how", ""))), data.get("error_permille")
    if data.get("basis") == "measured":
        return speaker.text("Energy measured: {how}.", how=how)
    if data.get("basis") == "attributed":
        return speaker.text("Energy attributed: {how}.", how=how)
    if type(error) is int:
        return speaker.text("Energy modelled: {how}; error up to {error}.", how=how, error=speaker.percent(error))
    return speaker.text("Energy modelled: {how}; its error is not published.", how=how)


def factor(data: object, speaker: Speaker) -> str:
    if isinstance(data, str) and data:
        return speaker.text("Carbon factor: {factor}.", factor=provenance.carbon_factor(speaker, data))
    if not isinstance(data, Mapping):
        return speaker.text("Carbon factor: not recorded.")
    sort = [data.get(name) for name in ("kind", "scope", "basis", "method")]
    said = [
        str(data.get("zone", "")),
        *(speaker.text(_FACTOR[str(s)]) for s in sort if s in _FACTOR),
        str(data.get("year", "")),
    ]
    rate = data.get("mg_per_kwh")
    said += [speaker.intensity(rate)] if type(rate) is int else []
    text = ", ".join(part for part in said if part)
    return speaker.text("Carbon factor: {factor} ({source}).", factor=text, source=str(data.get("source", "")))


def assumption(assumed: Assumption, speaker: Speaker) -> str:
    """One assumption as a sentence."""
    if assumed.code == "rate-assumed":
        return speaker.text("The rate {rate} is an assumption: the hub published none.", rate=assumed.about)
    how = provenance.how(speaker, assumed.about)
    if assumed.error_permille is None:
        return speaker.text("Energy comes from a model ({how}) whose error is not published.", how=how)
    error = speaker.percent(assumed.error_permille)
    return speaker.text("Energy comes from a model ({how}) with an error up to {error}.", how=how, error=error)
