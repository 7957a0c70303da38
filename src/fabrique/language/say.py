"""One reader: a language and a time zone. Everything that is said to that reader goes through a `Speaker`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_date, format_time
from babel.lists import format_list

from fabrique.core import units
from fabrique.core.errors import FabriqueError
from fabrique.core.fields import FieldError
from fabrique.core.reasons import Reason
from fabrique.core.units import Amount, Unit
from fabrique.language import catalogue, errors, fields, quantities, reasons, words
from fabrique.language.quantities import NBSP, Number

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CORES = "-core"


@dataclass(frozen=True)
class Speaker:
    """Says texts, quantities, instants and reasons in `language` (fr, fr-ca, en) and `timezone` (IANA).

    A language that is not ours is English, a time zone nobody knows is UTC. `kinds` gives accelerators, cores and
    QPUs the names people know them by; without one the id is said.
    """

    language: str = "en"
    timezone: str = "UTC"
    kinds: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "language", catalogue.language_code(self.language))

    # --- texts -----------------------------------------------------------------------------------------------

    def text(self, msgid: str, /, **params: object) -> str:
        """The translation of `msgid`, its {names} filled; whole numbers and amounts in the language's own form."""
        return self._filled(catalogue.translations(self.language).gettext(msgid), params)

    def plural(self, one: str, several: str, n: int, /, **params: object) -> str:
        """`one` or `several` by the language's rule for `n`, which is a parameter too."""
        found = catalogue.translations(self.language).ngettext(one, several, abs(n))
        return self._filled(found, {"n": n, **params})

    def word(self, group: str, key: object) -> str:
        """A word of a closed list (`words.WORDS`), as a state or a role; a key nobody knows is said as it is."""
        msgid = words.WORDS.get(group, {}).get(str(key))
        return self.text(msgid) if msgid else str(key)

    def _filled(self, template: str, params: Mapping[str, object]) -> str:
        return template.format(**{k: self._plain(v) for k, v in params.items()}) if params else template

    def _plain(self, value: object) -> str:
        if isinstance(value, Amount):
            return self.amount(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return self.number(value)
        return str(value)

    # --- quantities ------------------------------------------------------------------------------------------

    def number(self, value: Number, decimals: int | None = None) -> str:
        return quantities.number(value, self.language, decimals)

    def amount(self, amount: Amount) -> str:
        """In the unit people read, with its name: 1 250,5 heures GPU (H100), 3,4 kWh, 120 g CO₂e, 12,50 CAD."""
        if amount.unit == units.MJ:
            return self.energy(amount.value)
        if amount.unit == units.MG:
            return self.carbon(amount.value)
        if units.is_money(amount.unit):
            return self.money(amount.value, units.currency_of(amount.unit))
        value = units.readable(amount)
        return f"{self.number(value)}{NBSP}{self._hours(amount.unit, value)}"

    def figure(self, amount: Amount) -> str:
        """The number alone, in the unit that `unit_name` names: for a column whose header has the unit."""
        return self.number(units.readable(amount))

    def unit_name(self, unit: Unit) -> str:
        """The unit people read: heures GPU (H100), kWh, g CO₂e, CAD."""
        if unit == units.MJ:
            return "kWh"
        if unit == units.MG:
            return f"g{NBSP}CO₂e"
        return units.currency_of(unit) if units.is_money(unit) else self._hours(unit, Fraction(2))

    def _hours(self, unit: Unit, value: Fraction) -> str:
        french = self.language.startswith("fr")
        count = int(abs(value)) if french else 1 if abs(value) == 1 else 2  # 1,5 heure, but 1.5 hours
        kind = self.kind(units.kind_of(unit))
        match units.device_of(unit):
            case "accelerator":
                return self.plural("GPU-hour ({kind})", "GPU-hours ({kind})", count, kind=kind)
            case "core":
                return self.plural("core-hour ({kind})", "core-hours ({kind})", count, kind=kind)
            case _:
                return self.plural("QPU-hour ({kind})", "QPU-hours ({kind})", count, kind=kind)

    def kind(self, kind: str) -> str:
        """The name people know an accelerator, core or QPU kind by; `lab-core`, a cluster's cores, by the cluster's."""
        if kind not in self.kinds and kind.endswith(_CORES):
            return self.text("cores of {cluster}", cluster=kind.removesuffix(_CORES))
        return self.kinds.get(kind, kind)

    def energy(self, mj: int) -> str:
        """Millijoules in Wh, kWh, MWh or GWh."""
        return quantities.energy(mj, self.language)

    def carbon(self, mg: int) -> str:
        """Milligrams of CO2 equivalent in g, kg or t."""
        return quantities.carbon(mg, self.language)

    def intensity(self, mg_per_kwh: int) -> str:
        return f"{self.number(Fraction(mg_per_kwh, 1000))}{NBSP}g{NBSP}CO₂e/kWh"

    def money(self, micro: int, currency: str) -> str:
        """Millionths of a currency, with its ISO code."""
        return quantities.money(micro, currency, self.language)

    def power(self, watts: Number) -> str:
        return quantities.power(watts, self.language)

    def memory(self, size: int) -> str:
        """Bytes in KiB, MiB, GiB …"""
        return quantities.memory(size, self.language)

    def percent(self, permille: Number) -> str:
        """Thousandths as a percentage: 345 is 34,5 %."""
        return quantities.percent(permille, self.language)

    # --- time ------------------------------------------------------------------------------------------------

    def duration(self, ms: int) -> str:
        """The two largest parts: 3 d 4 h, 2 h 5 min, 45 s; below a second, ms."""
        seconds, rest = divmod(abs(ms), 1000)
        sign = "−" if ms < 0 else ""
        if seconds == 0:
            return f"{sign}{rest}{NBSP}ms" if rest else f"0{NBSP}s"
        parts = [(seconds // 86_400, self.text("d")), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min")]
        parts.append((seconds % 60, "s"))
        first = next(i for i, (n, _) in enumerate(parts) if n)
        return sign + NBSP.join(f"{self.number(n)}{NBSP}{name}" for n, name in parts[first : first + 2] if n)

    def local(self, ms: int) -> datetime:
        """UTC milliseconds in the reader's time zone; what a calendar can't hold is cut at its ends."""
        try:
            zone: ZoneInfo | None = ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            zone = None
        bounded = min(max(ms, -62_135_500_000_000), 253_402_200_000_000)
        return (_EPOCH + timedelta(milliseconds=bounded)).astimezone(zone or UTC)

    def instant(self, ms: int) -> str:
        """21 November 2026, 14:05, in the reader's time zone."""
        return self.text("{date}, {time}", date=self.date(ms), time=self.time(ms))

    def time(self, ms: int) -> str:
        return format_time(self.local(ms), "short", locale=quantities.LOCALES[self.language]).replace(" ", NBSP)

    def date(self, when: int | date) -> str:
        """A day: of an instant in UTC milliseconds, or of a calendar."""
        day = self.local(when).date() if isinstance(when, int) else when
        return format_date(day, "long", locale=quantities.LOCALES[self.language]).replace(" ", NBSP)

    def interval(self, from_ms: int, to_ms: int) -> str:
        """[from, to): between 14:10 and 14:40 on one day, else from one instant to the other."""
        if self.local(from_ms).date() != self.local(to_ms).date():
            return self.text("from {start} to {end}", start=self.instant(from_ms), end=self.instant(to_ms))
        start, end = self.time(from_ms), self.time(to_ms)
        return self.text("{date}, between {start} and {end}", date=self.date(from_ms), start=start, end=end)

    # --- lists, places, reasons ------------------------------------------------------------------------------

    def listed(self, items: list[str], style: str = "standard") -> str:
        """a, b and c; with `style` "or": a, b or c."""
        return format_list(items, style=style, locale=quantities.LOCALES[self.language])  # type: ignore[arg-type]

    def country(self, code: str) -> str:
        """The name of an ISO 3166-1 country; a code nobody knows is said as it is."""
        return str(quantities.locale_of(self.language).territories.get(code, code))

    def reason(self, reason: Reason) -> str:
        """Why, in one sentence."""
        return reasons.sentence(self, reason.code, reason.params)

    def error(self, error: FabriqueError) -> str:
        """What went wrong and what to do, in one sentence."""
        return errors.sentence(self, error.code, error.params)

    def field_error(self, error: FieldError) -> str:
        """What is wrong with one field."""
        return fields.sentence(self, error.code, error.params)
