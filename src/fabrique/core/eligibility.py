"""Who may ask for what: each rule of a mode answers pass, fail or unknown, with a reason and its evidence.

Unknown is neither: what was not told, not published or not yet confirmed goes to a person. The form is the typed one
of `form.checked`; a field that is absent was not told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Final

from fabrique.core.access import PERMILLE, Bounds, Mode
from fabrique.core.form import ANSWER_PREFIX, Value
from fabrique.core.reasons import Reason, reason
from fabrique.core.units import HOUR_MS, Unit, device_of, time_unit

Form = Mapping[str, Value]


class Verdict(Enum):
    PASS = "pass"  # noqa: S105 - a verdict, not a password
    FAIL = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one rule says. `evidence` holds what it looked at (JSON values), for the record of the decision."""

    rule: str
    verdict: Verdict
    reason: Reason
    evidence: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Closing:
    """A mode closed for a time, as for too much demand: [from_ms, to_ms), without an end when None."""

    mode: str
    from_ms: int
    to_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the hub knows when it judges. Times are base units (milliseconds) of the kind's own unit.

    `kinds`: connected kind -> its device (accelerator, core, qpu). `available`: what the pool can still award of a
    kind over the duration asked; a kind that is absent is unknown. `commercial_left`: what the year's commercial cap
    (`access.commercial_cap`) leaves of a kind; absent is unknown, and None is a pool that the cap is not law for.
    `data_rule`: answers for a data class against the jurisdiction of the hub. `earlier_modes`: modes under which the
    organisation was awarded before, None if unknown; `open_modes`: those under which it has an allocation now.
    """

    kinds: Mapping[str, str]
    available: Mapping[str, int] = field(default_factory=dict)
    commercial_left: Mapping[str, int] | None = field(default_factory=dict)
    closings: Sequence[Closing] = ()
    data_rule: Callable[[str], Answer] | None = None
    earlier_modes: frozenset[str] | None = None
    open_modes: frozenset[str] = frozenset()


def evaluate(mode: Mode, form: Form, facts: Facts, now_ms: int) -> list[Answer]:
    """One answer per rule that the mode has, in a fixed order. `now_ms` is UTC milliseconds."""
    return [answer for rule in _RULES if (answer := rule(mode, form, facts, now_ms)) is not None]


def overall(answers: Sequence[Answer]) -> Verdict:
    """Fail if any rule fails; else unknown if any is; pass only when every rule passes."""
    verdicts = {a.verdict for a in answers}
    if Verdict.FAIL in verdicts:
        return Verdict.FAIL
    return Verdict.UNKNOWN if Verdict.UNKNOWN in verdicts or not verdicts else Verdict.PASS


def asked_ms(form: Form) -> int | None:
    """The time asked for, in milliseconds of the kind chosen; the form asks for whole hours."""
    hours = form.get("hours")
    return hours * HOUR_MS if type(hours) is int else None


def _answer(rule: str, passed: bool | None, why: Reason, **evidence: object) -> Answer:
    """`passed` None is unknown."""
    verdict = Verdict.UNKNOWN if passed is None else Verdict.PASS if passed else Verdict.FAIL
    return Answer(rule, verdict, why, evidence)


def _mode_open(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer:
    closing = next((c for c in facts.closings if c.mode == mode.id and _within(c, now_ms)), None)
    status = "not-yet" if now_ms < mode.valid_from else "closed" if closing else "ended"
    if not mode.valid_at(now_ms) or closing:
        why = reason("eligible.mode-closed", mode=mode.id, status=status)
        return _answer("mode-open", False, why, valid_from=mode.valid_from, valid_to=mode.valid_to)
    return _answer("mode-open", True, reason("eligible.mode-open", mode=mode.id, until=mode.valid_to))


def _within(closing: Closing, now_ms: int) -> bool:
    return closing.from_ms <= now_ms and (closing.to_ms is None or now_ms < closing.to_ms)


def _cut_off(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    if not mode.cut_offs:
        return None
    cut_off = mode.next_cut_off(now_ms)  # none left: the next dates are not published
    known = True if cut_off is not None else None
    return _answer("cut-off", known, reason("eligible.cut-off", cut_off=cut_off), last=mode.cut_offs[-1])


def _organisation_kind(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer:
    kind = form.get("organisation_kind")
    why = reason("eligible.organisation-kind", kind=kind, accepted=list(mode.audience))
    return _answer("organisation-kind", None if kind is None else kind in mode.audience, why)


def _country(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    rule, country = mode.countries, form.get("country")
    if rule.kind == "any":
        return None
    if rule.kind == "eu-associated" and country in rule.associated:
        return _answer("country", None, reason("eligible.country-association", country=country))
    why = reason("eligible.country", country=country, accepted=list(rule.accepted))
    return _answer("country", None if country is None else country in rule.accepted, why)


def _kind(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer:
    kind = form.get("kind")
    why = reason("eligible.kind-connected", kind=kind)
    return _answer("kind", None if kind is None else kind in facts.kinds, why, connected=sorted(facts.kinds))


def _size(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer:
    hours, kind = form.get("hours"), form.get("kind")
    unit = _unit(kind, facts)
    bounds = Bounds() if unit is None else mode.size(device_of(unit))
    if type(hours) is not int or bounds == Bounds():
        return _answer("size", None, reason("eligible.size-not-published", unit=unit), asked=hours)
    passed = max(bounds.least or 0, 1) <= hours and (bounds.most is None or hours <= bounds.most)
    why = reason("eligible.size", asked=hours, least=bounds.least, most=bounds.most, unit=unit)
    return _answer("size", passed, why, assumed=mode.assumed(f"size_{_SHORT[device_of(unit)]}_h") if unit else False)


def _capacity(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer:
    asked, kind = asked_ms(form), form.get("kind")
    available = facts.available.get(kind) if isinstance(kind, str) else None
    why = reason("eligible.capacity", unit=_unit(kind, facts), asked=asked, available=available)
    return _answer("capacity", _at_most(asked, available), why)


def _duration(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer:
    months = form.get("months")
    why = reason("eligible.duration", months=months, accepted=list(mode.months))
    known = type(months) is int and bool(mode.months)
    return _answer("duration", months in mode.months if known else None, why, assumed=mode.assumed("months"))


def _civilian(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer:
    answer = form.get("civilian")
    return _answer("civilian", answer if isinstance(answer, bool) else None, reason("eligible.civilian", answer=answer))


def _ethics(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    """Fails while a question is open; an answer that calls for an explanation goes to a person."""
    if not mode.ethics:
        return None
    given = {q.id: form.get(ANSWER_PREFIX + q.id) for q in mode.ethics}
    missing = [q for q, answer in given.items() if not isinstance(answer, bool)]
    unsettled = [q.id for q in mode.ethics if given[q.id] is not None and given[q.id] is not q.settled]
    if missing or not unsettled:
        return _answer("ethics", not missing, reason("eligible.ethics", missing=missing), answers=given)
    return _answer("ethics", None, reason("eligible.ethics-to-explain", questions=unsettled), answers=given)


def _staff(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    small, staff = mode.smallness, form.get("staff")
    if small is None or small.staff_below is None or form.get("organisation_kind") not in _SMALL:
        return None
    passed = staff < small.staff_below if type(staff) is int else None
    return _answer("staff", passed, reason("eligible.staff", staff=staff, most=small.staff_below - 1))


def _turnover(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    """Either the turnover or the balance sheet has to be within its bound, not both."""
    small, turnover, balance = mode.smallness, form.get("turnover"), form.get("balance")
    if small is None or small.turnover_most is None or form.get("organisation_kind") not in _SMALL:
        return None
    within = [_at_most(told, most) for told, most in ((turnover, small.turnover_most), (balance, small.balance_most))]
    passed = True if True in within else None if None in within and small.balance_most is not None else within[0]
    why = reason("eligible.turnover", turnover=turnover, most=small.turnover_most)
    return _answer("turnover", passed, why, balance=balance, balance_most=small.balance_most, currency=small.currency)


def _age(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    if mode.age_most_years is None or form.get("organisation_kind") != "startup":
        return None
    founded, today = form.get("founded"), (_EPOCH + timedelta(milliseconds=now_ms)).date()
    years = _whole_years(founded, today) if type(founded) is date and founded <= today else None
    passed = None if years is None else years < mode.age_most_years
    return _answer("age", passed, reason("eligible.age", years=years, most=mode.age_most_years))


def _whole_years(since: date, until: date) -> int:
    return until.year - since.year - ((until.month, until.day) < (since.month, since.day))


def _data_class(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    if mode.field("data_class") is None:
        return None
    data_class = form.get("data_class")
    if isinstance(data_class, str) and facts.data_rule is not None:
        return facts.data_rule(data_class)
    return _answer("data-class", None, reason("eligible.data-class", data_class=data_class, rule=None))


def _once(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    if not mode.once:
        return None
    earlier = facts.earlier_modes
    return _answer("once", None if earlier is None else mode.id not in earlier, reason("eligible.once", mode=mode.id))


def _open_award(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    """A rule alone never gives twice at the same time: a second allocation is for a person to decide."""
    if mode.decision != "automatic":
        return None
    known = None if mode.id in facts.open_modes else True
    return _answer("open-award", known, reason("eligible.open-award", mode=mode.id))


def _inference(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    if mode.inference_most_permille is None:
        return None
    hours, asked = form.get("hours"), form.get("inference_hours")
    most = hours * mode.inference_most_permille // PERMILLE if type(hours) is int else None
    return _answer("inference", _at_most(asked, most), reason("eligible.inference", asked=asked, most=most))


def _commercial_cap(mode: Mode, form: Form, facts: Facts, now_ms: int) -> Answer | None:
    if not mode.commercial or facts.commercial_left is None:
        return None
    asked, kind = asked_ms(form), form.get("kind")
    left = facts.commercial_left.get(kind) if isinstance(kind, str) else None
    return _answer("commercial-cap", _at_most(asked, left), reason("eligible.commercial-cap", asked=asked, left=left))


def _at_most(asked: object, most: int | None) -> bool | None:
    """None (unknown) when either side is not known."""
    return asked <= most if type(asked) is int and most is not None else None


def _unit(kind: object, facts: Facts) -> Unit | None:
    device = facts.kinds.get(kind) if isinstance(kind, str) else None
    return None if device is None else time_unit(device, str(kind))


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SMALL: Final = ("startup", "sme")  # the kinds of organisation whose smallness is asked
_SHORT: Final = {"accelerator": "acc", "core": "core", "qpu": "qpu"}
_RULES: Final = (
    _mode_open,
    _cut_off,
    _organisation_kind,
    _country,
    _staff,
    _turnover,
    _age,
    _once,
    _open_award,
    _kind,
    _size,
    _duration,
    _capacity,
    _commercial_cap,
    _inference,
    _civilian,
    _ethics,
    _data_class,
)
