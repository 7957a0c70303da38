#!/usr/bin/env python3
"""Verify a Fabrique ledger or statement without Fabrique. Needs Python 3.9 or later, and `cryptography`.

    python fabrique_verify.py fabrique.sqlite3 [--checkpoint FILE]... [--json]
    python fabrique_verify.py statement.json [--checkpoint FILE]... [--key HEX] [--json]

FILE is an earlier checkpoint, or an earlier statement, which carries one. HEX is the hub's public key as you know it
from elsewhere. Exit 0: everything agrees. 1: it diverges, and the first divergence is named. 2: cannot run.
The database is opened read-only; nothing is sent anywhere. The format is described in docs/ledger.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import sys
from urllib.parse import quote

LARGEST = 512 * 1024 * 1024  # bytes of a JSON file
BUCKETS = ("granted", "available", "held", "used", "lost", "expired", "transferred")
LEAF = ("account", "unit", "amount", "n", "balance", "what", "ref", "detail")
HEADER = ("seq", "at_ms", "kind", "cause", "root", "count", "previous")
SIGNED = ("hub", "seq", "entry_hash", "at_ms", "public_key", "signature")
TABLES = ("ledger_entry", "ledger_posting", "ledger_accountbalance", "ledger_hold", "ledger_checkpoint")


class Diverged(Exception):
    """The first thing that does not agree."""


class CannotRun(Exception):
    """Nothing can be said about this input."""


def differs(place, expected, found):
    if expected != found:
        raise Diverged("%s: should be %s, is %s" % (place, short(expected), short(found)))


def short(value):
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 160 else text[:160] + "…"


# --- the format -------------------------------------------------------------------------------------------------


def canonical(data):
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def leaf_hash(cells):
    return sha256(b"\x00" + canonical([str(cell) for cell in cells]))


def node_hash(left, right):
    return sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right))


def tree_root(leaves):
    if not leaves:
        return sha256(b"")
    while len(leaves) > 1:
        pairs = [node_hash(leaves[i], leaves[i + 1]) for i in range(0, len(leaves) - 1, 2)]
        leaves = pairs + leaves[-1:] if len(leaves) % 2 else pairs
    return leaves[0]


def sides(index, count):
    """On which side each sibling of leaf `index` of `count` stands, from the leaf to the root."""
    found = []
    while count > 1:
        if index ^ 1 < count:
            found.append("left" if index % 2 else "right")
        index, count = index // 2, (count + 1) // 2
    return found


def header_hash(header):
    body = dict({name: str(header[name]) for name in HEADER}, v="1")
    return sha256(b"fabrique-entry\x00" + canonical(body))


def check_signature(place, mark):
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    body = canonical([mark["hub"], str(mark["seq"]), mark["entry_hash"], str(mark["at_ms"])])
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(mark["public_key"]))
        key.verify(bytes.fromhex(mark["signature"]), b"fabrique-checkpoint\x00" + body)
    except (InvalidSignature, ValueError):
        raise Diverged("%s at entry %s: its signature is not valid" % (place, mark["seq"])) from None


def parts_of(account):
    """("7f…", "held") for an allocation's account, else (None, None)."""
    pieces = account.split(":")
    return (":".join(pieces[1:-1]), pieces[-1]) if pieces[0] == "allocation" else (None, None)


class Anchors:
    """Checkpoints still to be met along the chain, and those that were."""

    def __init__(self, outside, inside):
        self.waiting = {}
        for place, marks in (("checkpoint from outside", outside), ("checkpoint", inside)):
            for mark in marks:
                self.waiting.setdefault(int(mark["seq"]), []).append((place, mark))
        self.met, self.last, self.last_outside, self.keys = 0, 0, 0, set()

    def meet(self, seq, entry_hash):
        for place, mark in self.waiting.pop(seq, ()):
            differs("%s at entry %d, the entry's hash" % (place, seq), mark["entry_hash"], entry_hash)
            check_signature(place, mark)
            self.met, self.last = self.met + 1, seq
            self.last_outside = seq if "outside" in place else self.last_outside
            self.keys.add(mark["public_key"])

    def unproven(self, outside, head):
        if not outside:
            yield "no earlier checkpoint was given: who holds the hub's key could have rewritten the whole chain"
        elif self.last_outside < head:
            yield "entries after %d came after the last checkpoint from outside" % self.last_outside
        if self.last < head:
            yield "entries after %d are covered by no signature" % self.last
        if len(self.keys) > 1:
            yield "the checkpoints are signed with %d keys" % len(self.keys)
        yield "the ledger proves what was written, not that a meter or a person told the truth"


# --- a database -------------------------------------------------------------------------------------------------


def open_database(path):
    """Read-only; a copy in WAL mode whose folder can't be written is read as it lies."""
    address = "file:" + quote(os.path.abspath(path))
    modes = ["?mode=ro"] if os.path.exists(path + "-wal") else ["?mode=ro", "?mode=ro&immutable=1"]
    for mode in modes:
        try:
            database = sqlite3.connect(address + mode, uri=True, isolation_level=None)
            database.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
            database.execute("PRAGMA trusted_schema = OFF")
            database.execute("BEGIN")
            rows = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            break
        except sqlite3.Error as error:
            problem = error
    else:
        raise CannotRun("%s: %s" % (path, problem))
    missing = [name for name in TABLES if (name,) not in rows]
    if missing:
        raise CannotRun("%s: the table %s is missing" % (path, missing[0]))
    return database


def typed(place, names, types, row):
    for name, wanted, cell in zip(names, types, row):
        if type(cell) is not wanted:
            differs("%s, %s" % (place, name), "of type " + wanted.__name__, type(cell).__name__)


def verify_database(path, outside):
    database = open_database(path)
    inside = []
    for row in database.execute("SELECT %s FROM ledger_checkpoint ORDER BY seq, id" % ", ".join(SIGNED)):
        typed("a checkpoint", SIGNED, (str, int, str, int, str, str), row)
        inside.append(dict(zip(SIGNED, row)))
    anchors, accounts, holds = Anchors(outside, inside), {}, read_holds(database)
    seq, postings, head = walk(database, anchors, accounts, holds)
    for waiting in sorted(anchors.waiting):
        raise Diverged("a checkpoint names entry %d, and the chain ends at %d" % (waiting, seq))
    check_balances(database, accounts)
    check_holds(holds, accounts)
    unproven = [*anchors.unproven(outside, seq), "rates, budgets' policies and what holds froze are not in the chain"]
    facts = {"entries": seq, "postings": postings, "head": head, "checkpoints": anchors.met}
    return dict(facts, keys=sorted(anchors.keys), unproven=unproven)


def walk(database, anchors, accounts, holds):
    columns = ", ".join(LEAF)
    rows = database.execute("SELECT entry_id, position, %s FROM ledger_posting ORDER BY 1, 2" % columns)
    row, postings, seq, head, at_ms = rows.fetchone(), 0, 0, "0" * 64, 0
    names = (*HEADER, "hash")
    for entry in database.execute("SELECT %s FROM ledger_entry ORDER BY seq" % ", ".join(names)):
        place = "entry %d" % (seq + 1)
        typed(place, names, (int, int, str, str, str, int, str, str), entry)
        header = dict(zip(names, entry))
        differs(place + ", seq", seq + 1, header["seq"])
        differs(place + ", previous", head, header["previous"])
        differs(place + ", at_ms, before the entry before it", False, header["at_ms"] < at_ms)
        leaves, sums = [], {}
        while row is not None and row[0] == header["seq"]:
            leaves.append(check_posting("%s, posting %d" % (place, len(leaves)), len(leaves), row, accounts, sums))
            note_hold(holds, row)
            row = rows.fetchone()
        if row is not None and (type(row[0]) is not int or row[0] < header["seq"]):
            raise Diverged("%s: a posting names entry %s, which is not there" % (place, short(row[0])))
        differs(place + ", count", len(leaves), header["count"])
        differs(place + ", root", tree_root(leaves), header["root"])
        differs(place + ", hash", header_hash(header), header["hash"])
        for about, total in sums.items():
            differs("%s, the sum of %s" % (place, " in ".join(about)), 0, total)
        seq, head, at_ms, postings = header["seq"], header["hash"], header["at_ms"], postings + len(leaves)
        anchors.meet(seq, head)
    if row is not None:
        raise Diverged("a posting names entry %s, which is not there" % short(row[0]))
    return seq, postings, head


def check_posting(place, index, row, accounts, sums):
    typed(place, ("position", *LEAF), (int, str, str, int, int, int, str, str, str), row[1:])
    position, account, unit, amount, n, balance = row[1:7]
    differs(place + ", position", index, position)
    state = accounts.setdefault((account, unit), [0, 0])
    state[0] += amount
    state[1] += 1
    differs("%s, n of %s in %s" % (place, account, unit), state[1], n)
    differs("%s, balance of %s in %s" % (place, account, unit), state[0], balance)
    allocation = parts_of(account)[0]
    for about in [("the entry", unit)] + ([("allocation " + allocation, unit)] if allocation else []):
        sums[about] = sums.get(about, 0) + amount
    return leaf_hash(row[2:])


def read_holds(database):
    holds = {}
    names = ("id", "allocation", "amounts", "opened_id", "settled_id")
    for row in database.execute("SELECT %s FROM ledger_hold ORDER BY id" % ", ".join(names)):
        hold = dict(zip(names, row), posted={}, ended=False)
        try:
            hold["amounts"] = {unit: int(value) for unit, value in json.loads(hold["amounts"]).items()}
            key = "%s-%s-%s-%s-%s" % tuple(row[0][a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise Diverged("a hold cannot be read: %s" % short(row)) from None
        holds[key] = hold
    return holds


def note_hold(holds, row):
    seq, account, unit, amount, what, ref = row[0], row[2], row[3], row[4], row[7], row[8]
    allocation, bucket = parts_of(account)
    hold = holds.get(ref)
    if hold is None or bucket != "held":
        return
    if what == "hold" and seq == hold["opened_id"] and allocation == hold["allocation"]:
        hold["posted"][unit] = hold["posted"].get(unit, 0) + amount
    elif seq == hold["settled_id"]:
        hold["ended"] = True


def check_balances(database, accounts):
    left = dict(accounts)
    for account, unit, value, n in database.execute("SELECT account, unit, value, n FROM ledger_accountbalance"):
        expected = left.pop((account, unit), None)
        differs("the balance of %s in %s, and its n" % (short(account), short(unit)), expected, [value, n])
    for account, unit in left:
        raise Diverged("the balance of %s in %s is missing" % (account, unit))


def check_holds(holds, accounts):
    held = {}
    for key, hold in holds.items():
        differs("hold %s, its amounts" % key, hold["posted"], hold["amounts"])
        if hold["settled_id"] is None:
            for unit, value in hold["amounts"].items():
                held[hold["allocation"], unit] = held.get((hold["allocation"], unit), 0) + value
        elif hold["amounts"]:
            differs("hold %s, ended in entry %s" % (key, short(hold["settled_id"])), True, hold["ended"])
    for (account, unit), (value, _) in accounts.items():
        allocation, bucket = parts_of(account)
        if bucket == "held":
            place = "%s in %s, against the open holds" % (account, unit)
            differs(place, held.get((allocation, unit), 0), value)
