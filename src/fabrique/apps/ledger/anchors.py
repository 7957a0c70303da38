"""Checkpoints as verification takes them: signed heads of the chain, from our own table or from outside.

One from outside (a statement, a funder's pack, another hub's receipt) is what makes a rewritten chain show.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fabrique.core import ledger
from fabrique.core.errors import FabriqueError

_NUMBER: Final = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Anchor:
    hub: str
    seq: int
    entry_hash: str
    at_ms: int
    public_key: str
    signature: str
    outside: bool = False

    @property
    def table(self) -> str:
        return "checkpoint from outside" if self.outside else "ledger_checkpoint"

    def is_signed(self) -> bool:
        with suppress(ValueError, InvalidSignature):
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.public_key))
            body = ledger.checkpoint_body(self.hub, self.seq, self.entry_hash, self.at_ms)
            key.verify(bytes.fromhex(self.signature), body)
            return True
        return False


def checkpoints_in(data: object) -> list[Mapping[str, object]]:
    """The checkpoints in a file's JSON: a statement, one checkpoint, or a list. Raises `ledger.checkpoint-broken`."""
    if isinstance(data, list) and all(isinstance(item, dict) for item in data):
        return list(data)
    if isinstance(data, dict):
        inner = data.get("checkpoint", data)
        if isinstance(inner, dict):
            return [inner]
    raise FabriqueError("ledger.checkpoint-broken", field="checkpoint")


def outside_anchor(data: Mapping[str, object]) -> Anchor:
    """One given checkpoint, its integers as text or as numbers. Raises `ledger.checkpoint-broken` with its `field`."""

    def text(name: str) -> str:
        value = data.get(name)
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise FabriqueError("ledger.checkpoint-broken", field=name)
        return value

    def number(name: str) -> int:
        value = data.get(name)
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = int(value)
        if type(value) is not int or not 0 <= value < 2**63:
            raise FabriqueError("ledger.checkpoint-broken", field=name)
        return value

    return Anchor(
        hub=text("hub"),
        seq=number("seq"),
        entry_hash=text("entry_hash"),
        at_ms=number("at_ms"),
        public_key=text("public_key"),
        signature=text("signature"),
        outside=True,
    )
