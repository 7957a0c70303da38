"""Amounts, instants and reasons in the reader's language; charts with their table. Built in: no {% load %} needed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date as calendar_date

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from fabrique.apps import names
from fabrique.charts import Chart
from fabrique.core.errors import FabriqueError
from fabrique.core.reasons import Reason, from_json
from fabrique.core.units import Amount, unit
from fabrique.language import Speaker, provenance
from fabrique.portal.speaker import current

register = template.Library()


def unknown(speaker: Speaker) -> str:
    return speaker.text("not published")


@register.filter
def number(value: int | float | None) -> str:
    return unknown(current()) if value is None else current().number(value)


@register.filter
def amount(value: Amount | int | str | None, of_unit: str = "") -> str:
    """An Amount, or base units with their unit: {{ line.used|amount:line.unit }}."""
    if value is None:
        return unknown(current())
    return current().amount(value if isinstance(value, Amount) else Amount(unit(of_unit), int(value)))


@register.filter
def figure(value: Amount | int | str | None, of_unit: str = "") -> str:
    """The number alone, for a column whose header is {{ unit|unit_name }}."""
    if value is None:
        return unknown(current())
    return current().figure(value if isinstance(value, Amount) else Amount(unit(of_unit), int(value)))


@register.filter
def unit_name(value: str) -> str:
    try:
        return current().unit_name(unit(value))
    except FabriqueError:
        return value


@register.filter
def energy(mj: int | None) -> str:
    return unknown(current()) if mj is None else current().energy(mj)


@register.filter
def carbon(mg: int | None) -> str:
    return unknown(current()) if mg is None else current().carbon(mg)


@register.filter
def code(text: str) -> SafeString:
    """What stands between backticks as code; the rest is text."""
    return format_html_join(
        "", "{}", ((format_html("<code>{}</code>", part) if odd else part,) for part, odd in _parts(text))
    )


def _parts(text: str) -> list[tuple[str, bool]]:
    """The pieces between backticks, each with whether it is code; a backtick without its fellow stays."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0:
        pieces[-2:] = ["`".join(pieces[-2:])]
    return [(piece, index % 2 == 1) for index, piece in enumerate(pieces)]


@register.filter
def carbon_factor(text: str) -> str:
    """A factor as the books name it."""
    return provenance.carbon_factor(current(), text)


@register.filter
def intensity(mg_per_kwh: int | None) -> str:
    return unknown(current()) if mg_per_kwh is None else current().intensity(mg_per_kwh)


@register.filter
def money(micro: int | None, currency: str) -> str:
    return unknown(current()) if micro is None else current().money(micro, currency)


@register.filter
def power(watts: int | None) -> str:
    return unknown(current()) if watts is None else current().power(watts)


@register.filter
def memory(size: int | None) -> str:
    return unknown(current()) if size is None else current().memory(size)


@register.filter
def percent(permille: int | None) -> str:
    return unknown(current()) if permille is None else current().percent(permille)


@register.filter
def duration(ms: int | None) -> str:
    return unknown(current()) if ms is None else current().duration(ms)


@register.filter
def instant(ms: int | None) -> str:
    return unknown(current()) if ms is None else current().instant(ms)


@register.filter
def clock(ms: int | None) -> str:
    """The time of day alone."""
    return unknown(current()) if ms is None else current().time(ms)


@register.filter
def day(when: int | calendar_date | None) -> str:
    return unknown(current()) if when is None else current().date(when)


@register.filter
def kind(value: str) -> str:
    """The name people know an accelerator, core or QPU kind by."""
    return current().kind(value)


@register.filter
def pool(value: str) -> str:
    """The name of a pool by its id."""
    return names.pool_name(value, current())


@register.filter
def mode(value: str) -> str:
    """The name of an access mode by its id."""
    return names.mode_name(value, current())


@register.filter
def country(code: str) -> str:
    return current().country(code)


@register.filter
def word(key: object, group: str) -> str:
    """A word of a closed list: {{ job.status|word:"job" }}."""
    return current().word(group, key)


@register.filter
def reason(value: Reason | Mapping[str, object] | None) -> str:
    """A Reason, or its JSON as the tables keep it; empty when there is none."""
    if not value:
        return ""
    try:
        return current().reason(value if isinstance(value, Reason) else from_json(value))
    except (KeyError, ValueError):
        return str(value.get("code", "")) if isinstance(value, Mapping) else ""


@register.filter
def field_error(value: object) -> str:
    return current().field_error(value)  # type: ignore[arg-type]


@register.simple_tag
def interval(from_ms: int, to_ms: int) -> str:
    return current().interval(from_ms, to_ms)


@register.inclusion_tag("parts/chart.html")
def chart(value: Chart) -> dict[str, object]:
    """The picture in both sizes, and the same numbers as a table."""
    return {"chart": value, "wide": _svg(value.wide), "narrow": _svg(value.narrow)}


def _svg(text: str) -> SafeString:
    return mark_safe(text)  # noqa: S308 - made by charts, which escapes every word and attribute
