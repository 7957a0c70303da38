"""The ledger's facts: postings, entries, their hashes and proofs. What an act writes is in `booking`.

An entry holds many postings; in each unit they sum to zero. The postings are the leaves of a Merkle tree,
the entry's header carries its root and the hash of the entry before it. A posting also carries its number
within its own account and the balance after it, so that a statement which leaves one out shows a gap.

Everything hashed is the UTF-8 of JSON without spaces, integers written as text, so that any language can
recompute it. `docs/ledger.md` states the format for those who write their own verifier.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from fabrique.core.errors import FabriqueError
from fabrique.core.units import Amount, Unit

VERSION: Final = 1
FIRST: Final = "0" * 64  # what the first entry names as its predecessor

Key = tuple[str, Unit]  # (account, unit): each has a balance of its own


@dataclass(frozen=True, slots=True)
class Line:
    """One intended movement, before it has a place in the ledger: `value` base units into `account`."""

    account: str
    unit: Unit
    value: int
    what: str  # hold, debit, release, refund … : the act that wrote it
    ref: str  # pseudonymous id of what caused it: an award, a hold, a meter window
    detail: str = "{}"  # canonical JSON: cause, rate and factor versions


@dataclass(frozen=True, slots=True)
class Posting:
    """A line in its place: `n` counts from 1 within (account, unit); `balance` is the one after it."""

    account: str
    unit: Unit
    value: int
    n: int
    balance: int
    what: str
    ref: str
    detail: str


@dataclass(frozen=True, slots=True)
class Header:
    """What the chain is made of. `cause` is canonical JSON without personal data."""

    seq: int  # from 1, without gaps
    at_ms: int
    kind: str
    cause: str
    root: str
    count: int
    previous: str


@dataclass(frozen=True, slots=True)
class Balance:
    """Where an account stands in one unit: its value and how many postings made it."""

    value: int = 0
    n: int = 0


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


def canonical(data: object) -> str:
    """JSON with sorted keys and no spaces; the only form that is hashed."""
    return _encode(data)


def leaf_hash(posting: Posting) -> str:
    body = canonical(
        [
            posting.account,
            posting.unit,
            str(posting.value),
            str(posting.n),
            str(posting.balance),
            posting.what,
            posting.ref,
            posting.detail,
        ]
    )
    return hashlib.sha256(b"\x00" + body.encode()).hexdigest()


def node_hash(left: str, right: str) -> str:
    return hashlib.sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right)).hexdigest()


def merkle_root(leaves: Sequence[str]) -> str:
    """Root over leaf hashes in order; an odd node rises unchanged (as RFC 6962), so no leaf counts twice."""
    if not leaves:
        return hashlib.sha256(b"").hexdigest()
    level = list(leaves)
    while len(level) > 1:
        level = [node_hash(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


def merkle_proof(leaves: Sequence[str], index: int) -> list[tuple[str, str]]:
    """The siblings from leaf `index` up to the root, each with its side: "left" or "right"."""
    proof: list[tuple[str, str]] = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            proof.append(("left" if sibling < index else "right", level[sibling]))
        level = [node_hash(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
        index //= 2
    return proof


def proof_root(leaf: str, proof: Iterable[tuple[str, str]]) -> str:
    """The root that `leaf` and its proof lead to."""
    for side, sibling in proof:
        leaf = node_hash(sibling, leaf) if side == "left" else node_hash(leaf, sibling)
    return leaf


def entry_hash(header: Header) -> str:
    body = canonical(
        {
            "v": str(VERSION),
            "seq": str(header.seq),
            "at_ms": str(header.at_ms),
            "kind": header.kind,
            "cause": header.cause,
            "root": header.root,
            "count": str(header.count),
            "previous": header.previous,
        }
    )
    return hashlib.sha256(b"fabrique-entry\x00" + body.encode()).hexdigest()


def checkpoint_body(hub: str, seq: int, entry: str, at_ms: int) -> bytes:
    """What an Ed25519 checkpoint signs."""
    return b"fabrique-checkpoint\x00" + canonical([hub, str(seq), entry, str(at_ms)]).encode()


def check_balanced(lines: Iterable[Line]) -> None:
    """Raises `ledger.unbalanced` unless the lines sum to zero in each unit by itself."""
    sums: dict[Unit, int] = {}
    for line in lines:
        sums[line.unit] = sums.get(line.unit, 0) + line.value
    for u, value in sorted(sums.items()):
        if value:
            raise FabriqueError("ledger.unbalanced", unit=u, difference=value)


def place(lines: Sequence[Line], before: Mapping[Key, Balance]) -> tuple[list[Posting], dict[Key, Balance]]:
    """The lines as postings that follow `before`, and the balances after them (of the touched keys only)."""
    after: dict[Key, Balance] = {}
    postings = []
    for line in lines:
        key = (line.account, line.unit)
        old = after.get(key) or before.get(key) or Balance()
        new = Balance(old.value + line.value, old.n + 1)
        after[key] = new
        postings.append(
            Posting(line.account, line.unit, line.value, new.n, new.value, line.what, line.ref, line.detail)
        )
    return postings, after


def amounts_json(amounts: Iterable[Amount]) -> dict[str, str]:
    """Amounts for JSON: integers as text, since they may pass 2^53."""
    return {a.unit: str(a.value) for a in amounts}


def amounts_from_json(data: Mapping[str, str]) -> tuple[Amount, ...]:
    return tuple(Amount(Unit(u), int(v)) for u, v in sorted(data.items()))
