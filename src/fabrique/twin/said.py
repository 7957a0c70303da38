"""What a comparison says, in the words of a reader: for the command line and for the page alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from fabrique.language.say import Speaker
from fabrique.twin.books import span
from fabrique.twin.compare import Comparison
from fabrique.twin.possible import Possible

UNKNOWN: Final = "–"
_DIFFERENCES: Final = ("mean_wait_s", "mean_bounded_slowdown", "work_done", "energy_j", "carbon_g", "cost")


def said(compared: Comparison) -> list[str]:
    """What a reader of the figures should know: of the trace, the machines, the grid; each once."""
    study = compared.runs[0].study
    found = list(study.trace.said)
    for one in compared.runs:
        found += [f"{a.path}: {a.value} ({a.why})" for a in one.replay.world.said]
    weathers = study.weathers(span(compared.runs[0].replay))
    found += [text for weather in weathers if weather is not None for text in weather.said]
    return list(dict.fromkeys(found))


def overview(say: Speaker, compared: Comparison) -> tuple[list[str], list[tuple[str, ...]]]:
    """Head and rows: the figures of each rule set."""
    head = [say.text("rules"), say.text("mean wait"), say.text("slowdown"), say.text("utilisation")]
    head += [say.text("work"), say.text("energy"), say.text("carbon"), say.text("cost"), say.text("above the cap")]
    rows: list[tuple[str, ...]] = []
    for one in compared.runs:
        f = one.summary.figures
        waits = (seconds(say, f["mean_wait_s"]), number(say, f["mean_bounded_slowdown"]))
        use = (percent(say, f["utilisation"]), work(say, f["work_done"]))
        spent = (energy(say, f["energy_j"]), carbon(say, f["carbon_mg"]), money(say, f["cost"], f["currency"]))
        rows.append((f["rules"], *waits, *use, *spent, above(say, f["over_cap_ws"])))
    return head, rows


def notes(say: Speaker, compared: Comparison) -> list[str]:
    """What was left out, then what a reader should know."""
    first = compared.runs[0]
    left = (*first.study.trace.dropped, *first.replay.world.dropped)
    texts = [
        say.plural(
            "{n} job was left out: {cause}.",
            "{n} jobs were left out: {cause}.",
            count,
            cause=say.word("left-out", cause),
        )
        for cause, count in left
    ]
    return [*texts, *said(compared)]


def seconds(say: Speaker, value: float | None) -> str:
    return UNKNOWN if value is None else say.duration(round(value) * 1000)


def number(say: Speaker, value: float | None) -> str:
    return UNKNOWN if value is None else say.number(value, 2)


def percent(say: Speaker, value: float | None) -> str:
    return UNKNOWN if value is None else say.percent(round(value * 10_000) / 10)


def work(say: Speaker, device_s: int) -> str:
    return f"{say.number(device_s / 3600, 0)}\u00a0h"


def energy(say: Speaker, joules: int | None) -> str:
    return UNKNOWN if joules is None else say.energy(joules * 1000)


def money(say: Speaker, micro: int | None, currency: str | None) -> str:
    return UNKNOWN if micro is None or currency is None else say.money(micro, currency)


def carbon(say: Speaker, mg: int | None) -> str:
    return UNKNOWN if mg is None else say.carbon(mg)


def above(say: Speaker, watt_s: int | None) -> str:
    return UNKNOWN if watt_s is None else say.energy(watt_s * 1000)


def difference_rows(say: Speaker, compared: Comparison, index: int) -> Iterator[tuple[str, ...]]:
    currency = compared.runs[0].books.currency
    for name in _DIFFERENCES:
        found = compared.differences[index].get(name)
        if found is None or found.mean is None:
            continue

        def told(value: float | None, name: str = name) -> str:
            return UNKNOWN if value is None else _signed(say, name, value, currency)

        interval = UNKNOWN if found.low is None else f"{told(found.low)} … {told(found.high)}"
        yield say.word("figure", name), told(found.mean), interval, say.word("difference", found.verdict)


def _signed(say: Speaker, name: str, value: float, currency: str | None) -> str:
    sign, size = "−" if value < 0 else "+", abs(value)
    match name:
        case "mean_wait_s":
            return sign + seconds(say, size)
        case "work_done":
            return sign + work(say, round(size))
        case "energy_j":
            return sign + energy(say, round(size))
        case "carbon_g":
            return sign + say.carbon(round(size * 1000))
        case "cost":
            return sign + money(say, round(size * 1_000_000), currency)
    return f"{sign}{number(say, size)}"


def reached_text(say: Speaker, found: Possible) -> str:
    """The share of what was possible, in one sentence."""
    what = say.word("figure", "carbon_g" if found.quantity == "carbon" else "cost")
    if found.bound is None or found.bound.optimum is None:
        status = "" if found.bound is None else found.bound.status
        return say.text("{what}: the bound was not found ({status}).", what=what, status=status)
    if found.reached_permille is None:
        return say.text("{what}: nothing could have been saved on the jobs that both end in time.", what=what)
    share = say.percent(found.reached_permille)
    return say.text(
        "{what}: {share} of the possible saving was reached, on {jobs} jobs that both end in time.",
        what=what,
        share=share,
        jobs=found.jobs,
    )
