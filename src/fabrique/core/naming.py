"""What a project's account and QoS are called on a cluster: each site has its own rules, and a name once given stays.

Slurm lower-cases the names of accounts and QoS; two that differ by case alone would be one there. Letters, digits,
`_`, `.` and `-` are all that a name is made of here, whatever Slurm would take.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from fabrique.core.errors import FabriqueError

WORDS: Final = ("project", "pool", "mode", "organisation")
LONGEST: Final = 40  # what squeue and sacct show without cutting, with room to spare
_PLACE = re.compile(r"\{([^{}]*)\}")
_OTHER = re.compile(r"[^a-z0-9_.-]+")
_LOGIN = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Naming:
    """A site's rules. `qos` "" gives none; `parent` is the account above all of ours."""

    account: str = "{project}"
    qos: str = "{project}-{pool}"
    parent: str = "fabrique"
    longest: int = LONGEST


def clean(text: str, longest: int = LONGEST) -> str:
    """`text` as a name may be written: lower case, ASCII, at most `longest` characters; "x" where nothing is left."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    return _OTHER.sub("-", plain).strip("-._")[:longest].rstrip("-._") or "x"


def fill(rule: str, words: Mapping[str, str], longest: int = LONGEST) -> str:
    """The name that `rule` gives for `words`. Raises `provision.rule` for a placeholder that is not one of `WORDS`."""
    for asked in _PLACE.findall(rule):
        if asked not in WORDS:
            raise FabriqueError("provision.rule", rule=rule[:120], word=asked[:40], known=list(WORDS))
    return clean(_PLACE.sub(lambda found: words.get(found[1], ""), rule), longest)


def choose(base: str, owner: str, given: Mapping[str, str], taken: Collection[str], longest: int = LONGEST) -> str:
    """`base`, or with the first suffix that is free: `base-2`, `base-3`, …

    `given` says whose each of our names is: what `owner` has already is its own again, another's never. `taken` are
    names that somebody else made; ours among them stay ours.
    """
    number, name = 1, base
    while given.get(name, owner) != owner or (name in taken and name not in given):
        number += 1
        suffix = f"-{number}"
        name = base[: longest - len(suffix)].rstrip("-._") + suffix
    return name


def login_of(text: str) -> str | None:
    """A Unix login as Slurm keeps it, in lower case; None for what is none, and for root, who is nobody's member."""
    name = text.strip().lower()
    return name if _LOGIN.fullmatch(name) and name != "root" else None
