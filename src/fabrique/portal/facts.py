"""A hub's definition as rows that can be read: every value with its source and status, nothing left out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from fractions import Fraction
from typing import Any, Final

from fabrique.core.hub import Attribute, Fact, Funding, Hub, Money, Partition, Pool, PriorityClass, Share, Sourced
from fabrique.language import Speaker, words
from fabrique.portal.fact_names import FACTS, NAMES

# fields that are no fact: ids, what a heading says already, lists that are shown on their own
_STRUCTURE: Final = frozenset({"id", "site", "pool", "by", "part_of", "name"})
# a field whose name means something else here
_OWN: Final = {(Pool, "kind"): "pool_kind", (Funding, "kind"): "funding_kind"}


@dataclass(frozen=True, slots=True)
class Row:
    """One value. `text` None: not published; `assumed` then says what stands for it, and `why`."""

    name: str
    text: str | None
    status: str
    sources: tuple[str, ...]
    note: str | None = None
    assumed: str | None = None
    why: str | None = None
    plain: bool = False  # a value of our own writing: no source is asked


@dataclass(frozen=True, slots=True)
class Table:
    """The rows about one thing, as one site or one machine; parts of it follow as tables of their own."""

    title: str
    rows: tuple[Row, ...]
    parts: tuple[Table, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    anchor: str
    title: str
    tables: tuple[Table, ...]


def sections(hub: Hub, speaker: Speaker) -> list[Section]:
    """The whole definition, in the order people ask: what it is, where, with what, for whom, under which law."""
    whole = [
        Section("overview", speaker.text("Overview"), (Table("", tuple(_hub_rows(hub, speaker))),)),
        Section("sites", speaker.text("Sites"), _tables(hub.sites, speaker)),
        Section("machines", speaker.text("Machines"), _machines(hub, speaker)),
        Section("pools", speaker.text("Pools and priorities"), (*_tables(hub.pools, speaker), *_policy(hub, speaker))),
        Section("partners", speaker.text("Partners"), _tables(hub.partners, speaker)),
        Section("funding", speaker.text("Funding"), _tables(hub.funding, speaker)),
        Section("sovereignty", speaker.text("Sovereignty"), (Table("", tuple(_law(hub.sovereignty, speaker))),)),
        Section("more", speaker.text("What else is known"), (Table("", tuple(_more(hub.facts, speaker))),)),
    ]
    return [s for s in whole if any(table.rows or table.parts for table in s.tables)]


def _hub_rows(hub: Hub, speaker: Speaker) -> Iterator[Row]:
    yield _plain("group", speaker.word("group", hub.group), speaker)
    yield _plain("phase", speaker.word("phase", hub.phase), speaker)
    yield _plain("jurisdiction", hub.jurisdiction, speaker)
    yield _plain("languages", ", ".join(hub.languages), speaker)
    yield _plain("currency", hub.currency, speaker)
    names = ("name", "operator", "city", "opening", "selected", "specialisation", "services", "storage")
    for name in names:
        yield fact(name, getattr(hub, name), speaker)


def _tables(things: Iterable[object], speaker: Speaker) -> tuple[Table, ...]:
    return tuple(Table(_title(thing), tuple(rows_of(thing, speaker))) for thing in things)


def _title(thing: object) -> str:
    """The name of a thing, else its id."""
    name = getattr(thing, "name", None)
    said = name.best if isinstance(name, Sourced) else name
    return str(said or getattr(thing, "id", ""))


def _machines(hub: Hub, speaker: Speaker) -> tuple[Table, ...]:
    tables = []
    for machine in hub.machines:
        shares = [row for share in machine.shares for row in _share(share, _pool(hub, share.pool), speaker)]
        parts = [Table(_partition_title(p, speaker), tuple(rows_of(p, speaker))) for p in machine.partitions]
        tables.append(Table(_title(machine), (*rows_of(machine, speaker), *shares), tuple(parts)))
    return tuple(tables)


def _share(share: Share, pool: str, speaker: Speaker) -> Iterator[Row]:
    yield fact("ppm", share.ppm, speaker, speaker.text("Share of {pool}", pool=pool))
    if share.ceiling_ppm != Sourced():
        yield fact("ceiling_ppm", share.ceiling_ppm, speaker, speaker.text("Most the law gives {pool}", pool=pool))


def _pool(hub: Hub, pool_id: str) -> str:
    return next((_title(pool) for pool in hub.pools if pool.id == pool_id), pool_id)


def _partition_title(partition: Partition, speaker: Speaker) -> str:
    return f"{partition.name} ({speaker.word('device', partition.device)})"


def _policy(hub: Hub, speaker: Speaker) -> tuple[Table, ...]:
    rows = (
        fact("priority_classes", hub.priority_classes, speaker),
        fact("prices_micro_per_hour", hub.prices_micro_per_hour, speaker, currency=hub.currency),
    )
    return (Table(speaker.text("Priorities and prices"), rows),)


def _law(attributes: Iterable[Attribute], speaker: Speaker) -> Iterator[Row]:
    for a in attributes:
        row = fact("", a.fact, speaker, speaker.word("sovereignty", a.id))
        dates = f" [{a.valid_from or '…'} – {a.valid_to or '…'})" if a.valid_from or a.valid_to else ""
        yield Row(row.name + dates, row.text, row.status, row.sources, row.note, row.assumed, row.why)


def _more(facts: Iterable[Fact], speaker: Speaker) -> Iterator[Row]:
    for f in facts:
        known = FACTS.get(f.id)
        yield fact("", f.texts, speaker, speaker.text(known) if known else f.id.replace("-", " ").capitalize())


def rows_of(thing: object, speaker: Speaker) -> Iterator[Row]:
    """Every fact of a part of a hub, in the order of its fields; plain values too, lists of parts not."""
    for field in fields(thing):  # type: ignore[arg-type]
        value = getattr(thing, field.name)
        if isinstance(value, Sourced):
            yield fact(field.name, value, speaker)
        elif value is not None and field.name not in _STRUCTURE and isinstance(value, (str, int)):
            name = _OWN.get((type(thing), field.name), field.name)
            yield _plain(name, _word(name, value, speaker), speaker)
        elif field.name == "roles":
            yield _plain(field.name, ", ".join(speaker.word("partner-role", role) for role in value), speaker)


def _word(name: str, value: str | int, speaker: Speaker) -> str:
    return speaker.word(name, value) if name in words.WORDS else str(value)


def fact(name: str, known: Sourced[Any], speaker: Speaker, title: str = "", currency: str = "") -> Row:
    """A published value with its source, or what is assumed in its place."""
    text = None if known.value is None else said(name, known.value, speaker, currency)
    assumed = said(name, known.assumed, speaker, currency) if known.rests_on_assumption else None
    return Row(title or _name(name, speaker), text, known.status, known.source, known.note, assumed, known.why)


def _plain(name: str, text: str, speaker: Speaker) -> Row:
    return Row(_name(name, speaker), text, "", (), plain=True)


def _name(name: str, speaker: Speaker) -> str:
    return speaker.text(NAMES[name]) if name in NAMES else name.replace("_", " ").capitalize()


def said(name: str, value: object, speaker: Speaker, currency: str = "") -> str:
    """A value in the unit that the end of its field's name tells."""
    if isinstance(value, Money):
        return speaker.amount(value.exact)
    if isinstance(value, Mapping):
        return "; ".join(f"{speaker.kind(k)}: {speaker.money(v, currency)}" for k, v in sorted(value.items()))
    if isinstance(value, tuple):
        return "; ".join(said(name, item, speaker) for item in value)
    if isinstance(value, PriorityClass):
        return value.name_fr if speaker.language.startswith("fr") else value.name
    if name == "kind":
        return speaker.kind(str(value))
    if name == "power_cap_point":
        return speaker.word(name, value)
    return _number(name, value, speaker) if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _number(name: str, value: int, speaker: Speaker) -> str:
    if name.endswith("_w"):
        return speaker.power(value)
    if name.endswith("ppm"):
        return speaker.percent(Fraction(value, 1000))
    if name == "pue_permille":
        return speaker.number(Fraction(value, 1000), 3)
    if name.startswith("memory_mb"):
        return f"{speaker.number(Fraction(value, 1000))} {'Go' if speaker.language.startswith('fr') else 'GB'}"
    if name.endswith("_tflops"):
        return f"{speaker.number(Fraction(value, 1000))} PFLOP/s"
    return speaker.number(value)
