"""How the parameters of reasons and errors are said: each name has a kind, each kind one way of being said.

A parameter that is not of its kind is said as it is: a sentence never fails for what was stored long ago.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Final

from fabrique.core.errors import FabriqueError
from fabrique.core.units import Amount, unit
from fabrique.language import slurm
from fabrique.language.marks import msg

if TYPE_CHECKING:
    from fabrique.language.say import Speaker

Params = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Between:
    """What several say of one parameter, both ends included."""

    least: object
    most: object


# What a parameter is, by its name, wherever a sentence does not say otherwise
KINDS: Final[Mapping[str, str]] = {
    "asked_w": "watts",
    "free_w": "watts",
    "most_w": "watts",
    "asked_ms": "duration",
    "most_ms": "duration",
    "walltime_ms": "duration",
    "at_ms": "instant",
    "time": "instant",
    "until": "instant",
    "last_seen": "instant",
    "since": "instant",
    "latest_start": "instant",
    "cut_off": "instant",
    "asked_mb": "mebibytes",
    "free_mb": "mebibytes",
    "limit_mb": "mebibytes",
    "limit_bytes": "bytes",
    "throughput_permille": "permille",
    "saved_permille": "permille",
    "floor_permille": "permille",
    "level": "level",
    "unit": "unit",
    "kind": "device-kind",
    "country": "country",
    "role": "word:role",
    "data_class": "word:data-class",
    "resource": "word:resource",
    "complaints": "complaints",
}


def said(speaker: Speaker, kind: str, value: object, params: Params) -> str:
    """`value` in words. `params` are its neighbours: an amount is said in the unit that stands beside it."""
    if isinstance(value, Between):
        least, most = (said(speaker, kind, end, params) for end in (value.least, value.most))
        return least if least == most else speaker.text(msg("{least} to {most}"), least=least, most=most)
    if value is None:
        return speaker.text(msg("unknown"))
    group, _, name = kind.partition(":")
    if group in ("word", "words"):
        return _words(speaker, name, value)
    if group == "sentences":
        return " ".join(speaker.word(name, one) for one in (value if isinstance(value, (list, tuple)) else [value]))
    if kind == "amount":
        return _amount(speaker, value, params.get("unit"))
    if kind in ("countries", "list", "numbers"):
        return _list(speaker, kind, value)
    if kind == "complaints":
        return "; ".join(_complaint(item) for item in (value if isinstance(value, (list, tuple)) else [value]))
    if kind == "of-resource":
        kind = _RESOURCES.get(str(params.get("resource")), "plain")
    if kind in _TEXTS:
        return _TEXTS[kind](speaker, str(value))
    number = whole(value)
    if number is None:
        return _list(speaker, "list", value) if isinstance(value, (list, tuple)) else str(value)
    return _NUMBERS.get(kind, _number)(speaker, number)


def _number(speaker: Speaker, value: int) -> str:
    return speaker.number(value)


def _unit(speaker: Speaker, text: str) -> str:
    try:
        return speaker.unit_name(unit(text))
    except FabriqueError:
        return text


def _level(speaker: Speaker, text: str) -> str:
    """A power limit of one device, as a plan names it: 210W."""
    watts = text.removesuffix("W")
    return speaker.power(int(watts)) if watts.isascii() and watts.isdigit() and len(watts) < 10 else text


_TEXTS: Final[Mapping[str, Callable[[Speaker, str], str]]] = {
    "text": lambda _, text: text,
    "slurm": slurm.sentence,
    "unit": _unit,
    "level": _level,
    "device-kind": lambda speaker, text: speaker.word("device", speaker.kind(text)),
    "country": lambda speaker, text: speaker.country(text),
}
_RESOURCES: Final = {"accelerators": "thousandths", "memory": "mebibytes"}
_NUMBERS: Final[Mapping[str, Callable[[Speaker, int], str]]] = {
    "watts": lambda speaker, n: speaker.power(n),
    "duration": lambda speaker, n: speaker.duration(n),
    "instant": lambda speaker, n: speaker.instant(n),
    "mebibytes": lambda speaker, n: speaker.memory(n * 2**20),
    "thousandths": lambda speaker, n: speaker.number(Fraction(n, 1000)),
    "bytes": lambda speaker, n: speaker.memory(n),
    "permille": lambda speaker, n: speaker.percent(n),
}


def whole(value: object) -> int | None:
    """A whole number, also when it was stored as text, as amounts above 2^53 are."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value.removeprefix("-").isdecimal() and len(value) < 40:
        return int(value)
    return None


def _amount(speaker: Speaker, value: object, unit_text: object) -> str:
    number = whole(value)
    try:
        return str(value) if number is None else speaker.amount(Amount(unit(str(unit_text)), number))
    except FabriqueError:
        return str(value)


def _complaint(item: object) -> str:
    """file:line, then the message, of something that complains (`definitions.complaints`); anything else as text."""
    as_json = getattr(item, "as_json", None)
    told = as_json() if callable(as_json) else item
    if not isinstance(told, Mapping) or "message" not in told:
        return str(told)
    place = ":".join(str(told[key]) for key in ("file", "line") if told.get(key))
    return f"{place}: {told['message']}" if place else str(told["message"])


def _words(speaker: Speaker, group: str, value: object) -> str:
    if isinstance(value, (list, tuple)):
        return speaker.listed([speaker.word(group, v) for v in value], "or")
    return speaker.word(group, value)


def _list(speaker: Speaker, kind: str, value: object) -> str:
    items: Sequence[object] = value if isinstance(value, (list, tuple)) else [value]
    if kind == "countries":
        return speaker.listed(sorted(speaker.country(str(v)) for v in items), "or")
    if kind == "numbers":
        return speaker.listed([speaker.number(v) if isinstance(v, int) else str(v) for v in items], "or")
    return speaker.listed([str(v) for v in items])


def filled(
    speaker: Speaker, sentences: Mapping[str, str], code: str, params: Params, special: Mapping[str, str]
) -> str:
    """The sentence of `code` with its parameters said.

    `sentences` may hold, beside `code`, `code?name`: what is said when the parameter `name` is empty or unknown.
    `special` gives the kinds of parameters where they differ from `KINDS`.
    """
    template = next((text for key, text in _variants(sentences, code) if _absent(params.get(key))), sentences[code])
    words = {k: said(speaker, special.get(k) or KINDS.get(k, "plain"), v, params) for k, v in params.items()}
    return speaker.text(template).format_map(_Lenient(speaker, words))


def _variants(sentences: Mapping[str, str], code: str) -> list[tuple[str, str]]:
    return [(key.partition("?")[2], text) for key, text in sentences.items() if key.startswith(f"{code}?")]


def _absent(value: object) -> bool:
    return value is None or value == "" or value == [] or value == ()


class _Lenient(dict[str, str]):
    """A parameter that was not given is unknown, and said so."""

    def __init__(self, speaker: Speaker, words: Mapping[str, str]) -> None:
        super().__init__(words)
        self._speaker = speaker

    def __missing__(self, key: str) -> str:
        return self._speaker.text("unknown")
