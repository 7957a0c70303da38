#!/usr/bin/env python3
"""Verify a Fabrique ledger or statement without Fabrique. Needs Python 3.9 or later, and `cryptography`.

    python fabrique_verify.py fabrique.sqlite3 [--checkpoint FILE]... [--json]
    python fabrique_verify.py statement.json [--checkpoint FILE]... [--key HEX] [--json]

FILE is an earlier checkpoint, or an earlier statement, which carries one. HEX is the hub's public key as you know it
from elsewhere. Exit 0: everything agrees. 1: it diverges, and the first divergence is named. 2: cannot run.
The database is opened read-only; nothing is sent anywhere. The format is described in docs/ledger.md.
"""

# ruff: noqa: UP006, UP035, B905, S608  (Python 3.9 must read this file; queries hold only its own names)
from __future__ import annotations

import argparse
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, List, TextIO, Tuple
from urllib.parse import quote

Fields = Dict[str, Any]
Accounts = Dict[Tuple[str, str], List[int]]  # (account, unit) -> [balance, n]
Sums = Dict[Tuple[str, str], int]
Holds = Dict[str, Fields]
Names = Dict[str, Tuple[str, str]]
Owned = Tuple[str, bool, Fields]  # part, whether in the period, posting

LARGEST = 512 * 1024 * 1024  # bytes of a JSON file
BUCKETS = ("granted", "available", "held", "used", "lost", "expired", "transferred")
LEAF = ("account", "unit", "amount", "n", "balance", "what", "ref", "detail")
POSTING_TYPES = (int, int, str, str, int, int, int, str, str, str)
HEADER = ("seq", "at_ms", "kind", "cause", "root", "count", "previous")
SIGNED = ("hub", "seq", "entry_hash", "at_ms", "public_key", "signature")
TABLES = ("ledger_entry", "ledger_posting", "ledger_accountbalance", "ledger_hold", "ledger_checkpoint")

ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class Diverged(Exception):  # noqa: N818
    """The first thing that does not agree."""


class CannotRun(Exception):  # noqa: N818
    """Nothing can be said about this input."""


def differs(place: str, expected: object, found: object) -> None:
    if expected != found:
        raise Diverged(f"{place}: should be {short(expected)}, is {short(found)}")


def short(value: object) -> str:
    text = value if isinstance(value, str) and value.isprintable() else ascii(value)
    return text if len(text) <= 160 else text[:160] + "…"


# --- the format -------------------------------------------------------------------------------------------------


def canonical(data: object) -> bytes:
    return ENCODER.encode(data).encode("utf-8")


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def leaf_hash(cells: Sequence[object]) -> str:
    return sha256(b"\x00" + canonical([str(cell) for cell in cells]))


def node_hash(left: str, right: str) -> str:
    return sha256(b"\x01" + bytes.fromhex(left) + bytes.fromhex(right))


def tree_root(leaves: list[str]) -> str:
    if not leaves:
        return sha256(b"")
    while len(leaves) > 1:
        pairs = [node_hash(leaves[i], leaves[i + 1]) for i in range(0, len(leaves) - 1, 2)]
        leaves = pairs + leaves[-1:] if len(leaves) % 2 else pairs
    return leaves[0]


def sides(index: int, count: int) -> list[str]:
    """On which side each sibling of leaf `index` of `count` stands, from the leaf to the root."""
    found = []
    while count > 1:
        if index ^ 1 < count:
            found.append("left" if index % 2 else "right")
        index, count = index // 2, (count + 1) // 2
    return found


def header_hash(header: Fields) -> str:
    body = dict({name: str(header[name]) for name in HEADER}, v="1")
    return sha256(b"fabrique-entry\x00" + canonical(body))


def check_signature(place: str, mark: Fields) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    body = canonical([mark["hub"], str(mark["seq"]), mark["entry_hash"], str(mark["at_ms"])])
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(mark["public_key"]))
        key.verify(bytes.fromhex(mark["signature"]), b"fabrique-checkpoint\x00" + body)
    except (InvalidSignature, ValueError):
        raise Diverged("{} at entry {}: its signature is not valid".format(place, mark["seq"])) from None


def parts_of(account: str) -> tuple[str, str]:
    """("7f…", "held") for an allocation's account, else ("", "")."""
    pieces = account.split(":")
    return (":".join(pieces[1:-1]), pieces[-1]) if pieces[0] == "allocation" else ("", "")


class Anchors:
    """Checkpoints still to be met along the chain, and those that were."""

    def __init__(self, outside: list[Fields], inside: list[Fields]) -> None:
        self.waiting: dict[int, list[tuple[str, Fields]]] = {}
        for place, marks in (("checkpoint from outside", outside), ("checkpoint", inside)):
            for mark in marks:
                self.waiting.setdefault(int(mark["seq"]), []).append((place, mark))
        self.met, self.last, self.last_outside = 0, 0, 0
        self.keys: set[str] = set()

    def meet(self, seq: int, entry_hash: str) -> None:
        for place, mark in self.waiting.pop(seq, ()):
            differs(f"{place} at entry {seq}, the entry's hash", mark["entry_hash"], entry_hash)
            check_signature(place, mark)
            self.met, self.last = self.met + 1, seq
            self.last_outside = seq if "outside" in place else self.last_outside
            self.keys.add(mark["public_key"])

    def unproven(self, outside: list[Fields], head: int) -> Iterator[str]:
        if not outside:
            yield "no earlier checkpoint was given: who holds the hub's key could have rewritten the whole chain"
        elif self.last_outside < head:
            yield f"entries after {self.last_outside} came after the last checkpoint from outside"
        if self.last < head:
            yield f"entries after {self.last} are covered by no signature"
        if len(self.keys) > 1:
            yield f"the checkpoints are signed with {len(self.keys)} keys"
        yield "the ledger proves what was written, not that a meter or a person told the truth"


# --- a database -------------------------------------------------------------------------------------------------


def open_database(path: str) -> sqlite3.Connection:
    """Read-only; a copy in WAL mode whose folder can't be written is read as it lies."""
    address = "file:" + quote(str(Path(path).resolve()))
    modes = ["?mode=ro"] if Path(path + "-wal").exists() else ["?mode=ro", "?mode=ro&immutable=1"]
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
        raise CannotRun(f"{path}: {problem}")
    missing = [name for name in TABLES if (name,) not in rows]
    if missing:
        raise CannotRun(f"{path}: the table {missing[0]} is missing")
    return database


def typed(place: str, names: Sequence[str], types: Sequence[type], row: Sequence[object]) -> None:
    for name, wanted, cell in zip(names, types, row):
        if type(cell) is not wanted:
            differs(f"{place}, {name}", "of type " + wanted.__name__, type(cell).__name__)


def verify_database(path: str, outside: list[Fields]) -> Fields:
    with closing(open_database(path)) as database:
        return verify_tables(database, outside)


def verify_tables(database: sqlite3.Connection, outside: list[Fields]) -> Fields:
    inside = []
    for row in database.execute("SELECT {} FROM ledger_checkpoint ORDER BY seq, id".format(", ".join(SIGNED))):
        typed("a checkpoint", SIGNED, (str, int, str, int, str, str), row)
        inside.append(dict(zip(SIGNED, row)))
    accounts: Accounts = {}
    anchors, holds = Anchors(outside, inside), read_holds(database)
    seq, postings, head = walk(database, anchors, accounts, holds)
    for waiting in sorted(anchors.waiting):
        raise Diverged(f"a checkpoint names entry {waiting}, and the chain ends at {seq}")
    check_balances(database, accounts)
    check_holds(holds, accounts)
    unproven = [*anchors.unproven(outside, seq), "rates, budgets' policies and what holds froze are not in the chain"]
    facts = {"entries": seq, "postings": postings, "head": head, "checkpoints": anchors.met}
    return dict(facts, keys=sorted(anchors.keys), unproven=unproven)


def walk(database: sqlite3.Connection, anchors: Anchors, accounts: Accounts, holds: Holds) -> tuple[int, int, str]:
    columns = ", ".join(LEAF)
    rows = database.execute(f"SELECT entry_id, position, {columns} FROM ledger_posting ORDER BY 1, 2")
    row, postings, seq, head, at_ms = rows.fetchone(), 0, 0, "0" * 64, 0
    names = (*HEADER, "hash")
    for entry in database.execute("SELECT {} FROM ledger_entry ORDER BY seq".format(", ".join(names))):
        place = f"entry {seq + 1}"
        typed(place, names, (int, int, str, str, str, int, str, str), entry)
        header = dict(zip(names, entry))
        differs(place + ", seq", seq + 1, header["seq"])
        differs(place + ", previous", head, header["previous"])
        differs(place + ", at_ms, before the entry before it", False, header["at_ms"] < at_ms)
        leaves: list[str] = []
        sums: Sums = {}
        while row is not None and row[0] == header["seq"]:
            leaves.append(check_posting(place, len(leaves), row, accounts, sums))
            note_hold(holds, row)
            row = rows.fetchone()
        if row is not None and (type(row[0]) is not int or row[0] < header["seq"]):
            raise Diverged(f"{place}: a posting names entry {short(row[0])}, which is not there")
        differs(place + ", count", len(leaves), header["count"])
        differs(place + ", root", tree_root(leaves), header["root"])
        differs(place + ", hash", header_hash(header), header["hash"])
        for about, total in sums.items():
            differs("{}, the sum of {}".format(place, " in ".join(about)), 0, total)
        seq, head, at_ms, postings = header["seq"], header["hash"], header["at_ms"], postings + len(leaves)
        anchors.meet(seq, head)
    if row is not None:
        raise Diverged(f"a posting names entry {short(row[0])}, which is not there")
    return seq, postings, head


def check_posting(entry: str, index: int, row: Sequence[Any], accounts: Accounts, sums: Sums) -> str:
    """The leaf's hash. Texts about a place are made only when something differs: there are millions of postings."""
    place = f"{entry}, posting {index}" if tuple(map(type, row)) != POSTING_TYPES else ""
    if place:
        typed(place, ("entry_id", "position", *LEAF), POSTING_TYPES, row)
    position, account, unit, amount, n, balance = row[1:7]
    state = accounts.setdefault((account, unit), [0, 0])
    state[0] += amount
    state[1] += 1
    if position != index or n != state[1] or balance != state[0]:
        place = f"{entry}, posting {index}"
        differs(place + ", position", index, position)
        differs(f"{place}, n of {account} in {unit}", state[1], n)
        differs(f"{place}, balance of {account} in {unit}", state[0], balance)
    sums["the entry", unit] = sums.get(("the entry", unit), 0) + amount
    if account.startswith("allocation:"):
        about = account[: account.rindex(":")]
        sums[about, unit] = sums.get((about, unit), 0) + amount
    return leaf_hash(row[2:])


def read_holds(database: sqlite3.Connection) -> Holds:
    holds = {}
    names = ("id", "allocation", "amounts", "opened_id", "settled_id")
    for row in database.execute("SELECT {} FROM ledger_hold ORDER BY id".format(", ".join(names))):
        hold = dict(zip(names, row), posted={}, ended=False)
        try:
            hold["amounts"] = {unit: int(value) for unit, value in json.loads(hold["amounts"]).items()}
            key = "{}-{}-{}-{}-{}".format(
                *tuple(row[0][a:b] for a, b in ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32)))
            )
        except (ValueError, TypeError, AttributeError, RecursionError):
            raise Diverged(f"a hold cannot be read: {short(row)}") from None
        holds[key] = hold
    return holds


def note_hold(holds: Holds, row: Sequence[Any]) -> None:
    hold = holds.get(row[8])
    if hold is None or not row[2].endswith(":held"):
        return
    seq, account, unit, amount, what = row[0], row[2], row[3], row[4], row[7]
    if what == "hold" and seq == hold["opened_id"] and parts_of(account)[0] == hold["allocation"]:
        hold["posted"][unit] = hold["posted"].get(unit, 0) + amount
    elif seq == hold["settled_id"]:
        hold["ended"] = True


def check_balances(database: sqlite3.Connection, accounts: Accounts) -> None:
    left = dict(accounts)
    for account, unit, value, n in database.execute("SELECT account, unit, value, n FROM ledger_accountbalance"):
        typed("a balance", ("account", "unit", "value", "n"), (str, str, int, int), (account, unit, value, n))
        expected = left.pop((account, unit), None)
        differs(f"the balance of {short(account)} in {short(unit)}, and its n", expected, [value, n])
    for account, unit in left:
        raise Diverged(f"the balance of {account} in {unit} is missing")


def check_holds(holds: Holds, accounts: Accounts) -> None:
    held: Sums = {}
    for key, hold in holds.items():
        differs(f"hold {key}, its amounts", hold["posted"], hold["amounts"])
        if hold["settled_id"] is None:
            for unit, value in hold["amounts"].items():
                held[hold["allocation"], unit] = held.get((hold["allocation"], unit), 0) + value
        elif hold["amounts"]:
            differs("hold {}, ended in entry {}".format(key, short(hold["settled_id"])), True, hold["ended"])
    for (account, unit), (value, _) in accounts.items():
        allocation, bucket = parts_of(account)
        if bucket == "held":
            place = f"{account} in {unit}, against the open holds"
            differs(place, held.get((allocation, unit), 0), value)


# --- a statement ------------------------------------------------------------------------------------------------


def verify_statement(data: Fields, outside: list[Fields], key: str | None) -> Fields:
    check_shape(data)
    content = {name: value for name, value in data.items() if name not in ("ledger", "fingerprint")}
    differs("the fingerprint", sha256(canonical(content)), data["fingerprint"])
    mark, anchors = data["checkpoint"], Anchors(outside, [data["checkpoint"]])
    differs("the checkpoint's hub", data["hub"], mark["hub"])
    differs("the public key", key or mark["public_key"], mark["public_key"])
    headers = check_chain(data["ledger"]["headers"], anchors)
    first, last = min(headers), max(headers)
    differs("the checkpoint's entry", last, int(mark["seq"]))
    names = account_names(data)
    rows = check_proofs(data["ledger"]["postings"], headers, names)
    before = [seq for seq, header in headers.items() if int(header["at_ms"]) < int(data["to_ms"])]
    closing = max(before, default=first - 1)
    differs("closing_seq", str(closing) if rows or before else data["closing_seq"], data["closing_seq"])
    differs("postings after the period", [], [place_of(row) for row in rows if int(row["entry"]) > closing])
    compare(
        "statement", recomputed(data, rows, names), {name: data[name] for name in ("allocations", "pool", "totals")}
    )
    compare_pool(data)
    unproven = list(data["unproven"])
    if anchors.last_outside:
        unproven.append(f"entries after {anchors.last_outside} came after the last checkpoint from outside")
    elif outside:
        unproven.append(f"no checkpoint given falls on entries {first} to {last}: none could be compared")
    if not key:
        unproven.append("no --key was given: that this is the hub's key is the statement's own word")
    facts = {"entries": len(headers), "postings": len(rows), "head": mark["entry_hash"], "checkpoints": anchors.met}
    return dict(facts, fingerprint=data["fingerprint"], keys=[mark["public_key"]], unproven=unproven)


def check_shape(data: Fields) -> None:
    """What is no number must at least be what it should be; a stranger's key is no part of a statement."""
    texts = {"schema", "hub", "kind", "id", "from_ms", "to_ms", "made_ms", "closing_seq", "fingerprint"}
    lists = {"allocations", "pool", "assumptions", "unproven"}
    differs("the statement's keys", sorted(texts | lists | {"totals", "checkpoint", "ledger"}), sorted(data))
    if not all(isinstance(data[name], str) for name in texts) or not all(isinstance(data[n], list) for n in lists):
        raise TypeError("a text or a list is missing")
    if data["kind"] not in ("project", "pool") or not 0 <= int(data["from_ms"]) < int(data["to_ms"]):
        raise ValueError("the kind or the period is none")
    if not all(isinstance(text, str) for text in data["unproven"]) or int(data["made_ms"]) < 0:
        raise TypeError("what is unproven is said in texts")
    display = {"id", "project", "pool", "mode", "starts_ms", "ends_ms"}
    for part in data["allocations"]:
        differs("an allocation's keys", sorted(display | {"units", "lines"}), sorted(part))
        if not all(isinstance(part[name], str) for name in display):
            raise TypeError("an allocation's text is none")
    differs("allocations shown twice", len(data["allocations"]), len({part["id"] for part in data["allocations"]}))


def check_chain(listed: list[Fields], anchors: Anchors) -> dict[int, Fields]:
    headers: dict[int, Fields] = {}
    previous, at_ms = "", 0
    for header in listed:
        place, seq = "header " + short(header["seq"]), int(header["seq"])
        differs(place + ", its keys", sorted(HEADER), sorted(header))
        only_texts(place, header.values())
        differs(place + ", seq", max(headers, default=seq - 1) + 1, seq)
        differs(place + ", previous", previous or ("0" * 64 if seq == 1 else header["previous"]), header["previous"])
        differs(place + ", at_ms, before the entry before it", False, int(header["at_ms"]) < at_ms)
        headers[seq], previous, at_ms = header, header_hash(header), int(header["at_ms"])
        anchors.meet(seq, previous)
    if not headers:
        raise Diverged("there are no headers")
    return headers


def check_proofs(listed: list[Fields], headers: dict[int, Fields], names: Names) -> list[Fields]:
    """Each posting is a leaf of its entry; each account goes on without a gap from its first posting."""
    accounts: Accounts = {}
    sums: dict[str, int] = {}
    latest = (0, 0)
    for row in listed:
        entry, position, place = int(row["entry"]), int(row["position"]), "posting " + short(place_of(row))
        differs(place + ", its keys", sorted((*LEAF, "entry", "position", "proof")), sorted(row))
        only_texts(place, [row[name] for name in LEAF])
        differs(place + ", in order and once", True, latest < (entry, position + 1))
        differs(place + ", an account of this statement", True, row["account"] in names)
        header = headers.get(entry)
        if header is None or not 0 <= position < int(header["count"]):
            raise Diverged(place + ": there is no such place under these headers")
        differs(place + ", the shape of its proof", sides(position, int(header["count"])), [s for s, _ in row["proof"]])
        found = leaf_hash([row[name] for name in LEAF])
        for side, sibling in row["proof"]:
            found = node_hash(sibling, found) if side == "left" else node_hash(found, sibling)
        differs(place + ", the root its proof leads to", header["root"], found)
        state = accounts.setdefault((row["account"], row["unit"]), [0, 0])
        state[:] = [state[0] + 1, state[1] + int(row["amount"])]
        differs(place + ", n and balance", [str(x) for x in state], [row["n"], row["balance"]])
        allocation = parts_of(row["account"])[0]
        if allocation:
            about = f"entry {entry}, the sum of allocation {allocation} in {row['unit']}"
            sums[about] = sums.get(about, 0) + int(row["amount"])
        latest = (entry, position + 1)
    for about, total in sums.items():
        differs(about, 0, total)
    return listed


def only_texts(place: str, cells: Iterable[object]) -> None:
    if not all(isinstance(cell, str) for cell in cells):
        raise TypeError(place + " holds what is no text")


def place_of(row: Fields) -> str:
    return "{entry}/{position}".format(**row)


def account_names(data: Fields) -> Names:
    """account -> (allocation, part) of every account a statement may show."""
    names = {}
    for part in data["allocations"]:
        names.update({"allocation:{}:{}".format(part["id"], b): (part["id"], b) for b in BUCKETS})
    if data["kind"] == "pool":
        names.update({"pool:{}:{}".format(data["id"], p): ("", p) for p in ("unallocated", "awarded")})
    return names


def recomputed(data: Fields, rows: list[Fields], names: Names) -> Fields:
    """The numbers of the statement, from its postings alone."""
    start = int(data["from_ms"])
    at_ms = {header["seq"]: int(header["at_ms"]) for header in data["ledger"]["headers"]}
    by_owner: dict[str, list[Owned]] = {}
    for row in rows:
        owner, part = names[row["account"]]
        by_owner.setdefault(owner, []).append((part, at_ms[row["entry"]] >= start, row))
    allocations = []
    totals: dict[str, list[Fields]] = {}
    for claimed in data["allocations"]:
        mine = by_owner.get(claimed["id"], [])
        groups: dict[tuple[str, str], list[Fields]] = {}
        for part, inside, row in mine:
            if inside and part in ("used", "lost"):
                groups.setdefault((row["ref"], row["what"]), []).append(row)
        lines = [line(ref, what, group, at_ms) for (ref, what), group in groups.items()]
        allocations.append(dict(claimed, units=units(mine, BUCKETS), lines=lines))
        for (_, what), group in groups.items():
            totals.setdefault(what, []).extend(group)
    pool = units(by_owner.get("", []), ("unallocated", "awarded"))
    return {"allocations": allocations, "pool": pool, "totals": {what: amounts(t) for what, t in totals.items()}}


def figure(rows: list[Fields], part: str = "") -> Fields:
    total = sum(int(row["amount"]) for row in rows) * (-1 if part == "granted" else 1)
    return {"value": str(total), "postings": [place_of(row) for row in rows]}


def amounts(rows: list[Fields]) -> Fields:
    return {unit: figure([r for r in rows if r["unit"] == unit]) for unit in {r["unit"] for r in rows}}


def units(rows: list[Owned], parts: Sequence[str]) -> list[Fields]:
    found = []
    for unit in sorted({row["unit"] for _, _, row in rows}):
        mine = {p: [(inside, row) for part, inside, row in rows if part == p and row["unit"] == unit] for p in parts}
        closing = {p: figure([row for _, row in mine[p]], p) for p in parts}
        movements = {p: figure([row for inside, row in mine[p] if inside], p) for p in parts}
        found.append({"unit": unit, "closing": closing, "movements": movements})
    return found


def line(ref: str, what: str, rows: list[Fields], at_ms: dict[str, int]) -> Fields:
    facts: Fields = {}
    for row in rows:
        facts = {**json.loads(row["detail"], parse_int=str, parse_float=str), **facts}
    first = str(at_ms[rows[0]["entry"]])
    return {"ref": ref, "what": what, "at_ms": first, "amounts": amounts(rows), "facts": facts}


def compare(place: str, expected: Any, found: Any) -> None:
    if isinstance(expected, dict) and isinstance(found, dict):
        differs(place + ", its keys", sorted(expected), sorted(found))
        for name, value in expected.items():
            compare(place + "." + name, value, found[name])
    elif isinstance(expected, list) and isinstance(found, list):
        differs(place + ", its length", len(expected), len(found))
        for i, value in enumerate(expected):
            compare(f"{place}[{i}]", value, found[i])
    else:
        differs(place, expected, found)


def compare_pool(data: Fields) -> None:
    """What a pool awarded is what its allocations were granted, less what expired or left: none is missing."""
    for unit in data["pool"]:
        total = 0
        for part in data["allocations"]:
            for mine in part["units"]:
                if mine["unit"] == unit["unit"]:
                    value = {bucket: int(mine["closing"][bucket]["value"]) for bucket in BUCKETS}
                    total += value["granted"] - value["expired"] - value["transferred"]
        differs("pool, awarded in {}".format(unit["unit"]), str(total), unit["closing"]["awarded"]["value"])


# --- the command ------------------------------------------------------------------------------------------------


def load_json(path: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> Fields:
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a key stands twice in one object")
        return found

    try:
        with open(path, "rb") as file:
            raw = file.read(LARGEST + 1)
        if len(raw) > LARGEST:
            raise ValueError(f"larger than {LARGEST} bytes")
        return json.loads(raw.decode("utf-8"), parse_int=str, parse_float=str, object_pairs_hook=once)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        raise CannotRun(f"{path}: {str(error) or type(error).__name__}") from None


def load_checkpoints(path: str) -> list[Fields]:
    data = load_json(path)
    inner = data.get("checkpoint", data) if isinstance(data, dict) else data
    marks = inner if isinstance(inner, list) else [inner]
    for mark in marks:
        fits = isinstance(mark, dict) and all(isinstance(mark.get(name), str) for name in SIGNED)
        if not fits or not (mark["seq"].isdecimal() and mark["at_ms"].isdecimal() and len(mark["seq"]) < 20):
            raise CannotRun(f"{path}: this is no checkpoint")
    return marks


def verify(path: str, checkpoints: list[str], key: str | None) -> Fields:
    outside = [mark for file in checkpoints for mark in load_checkpoints(file)]
    try:
        with open(path, "rb") as file:
            is_database = file.read(16) == b"SQLite format 3\x00"
    except OSError as error:
        raise CannotRun(f"{path}: {error.strerror}") from None
    if is_database:
        try:
            return verify_database(path, outside)
        except sqlite3.Error as error:
            raise CannotRun(f"{path}: {error}") from None
        except (ValueError, OverflowError) as error:
            raise Diverged(f"a cell cannot be read: {error}") from None
    data = load_json(path)
    if not isinstance(data, dict) or data.get("schema") != "fabrique-statement/1":
        raise CannotRun(f"{path}: neither a ledger's database nor a statement of a version known here")
    try:
        return verify_statement(data, outside, key)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise CannotRun(f"{path}: not written as a statement is: {type(error).__name__} {error}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Verify a Fabrique ledger or statement, without Fabrique.")
    parser.add_argument("file", help="fabrique.sqlite3 or statement.json")
    parser.add_argument("--checkpoint", action="append", default=[], metavar="FILE", help="an earlier checkpoint")
    parser.add_argument("--key", type=str.lower, metavar="HEX", help="the hub's public key, known from elsewhere")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    given = parser.parse_args(arguments)
    code = 0
    answer: Fields = {"ok": True, "divergence": None, "error": None}
    try:
        answer.update(verify(given.file, given.checkpoint, given.key))
    except Diverged as found:
        answer, code = dict(answer, ok=False, divergence=str(found)), 1
    except CannotRun as problem:
        answer, code = dict(answer, ok=False, error=str(problem)), 2
    except ImportError:
        answer, code = dict(answer, ok=False, error="this needs the Python package cryptography"), 2
    say([json.dumps(answer, sort_keys=True)] if given.json else in_words(answer), (sys.stdout, sys.stderr)[code == 2])
    return code


def in_words(answer: Fields) -> list[str]:
    if answer["error"]:
        return [f"Cannot run: {answer['error']}"]
    if answer["divergence"]:
        return [f"DIVERGED: {answer['divergence']}"]
    lines = ["OK: {entries} entries, {postings} postings, {checkpoints} checkpoints; head {head}".format(**answer)]
    lines += ["fingerprint " + answer["fingerprint"]] if "fingerprint" in answer else []
    return lines + ["not proven: " + text for text in answer["unproven"]]


def say(lines: list[str], stream: TextIO) -> None:
    """One clean line a fact, whatever a hostile file put into it."""
    for line in lines:
        clean = "".join(c if c.isprintable() else "?" for c in line)
        stream.write(clean.encode("ascii", "backslashreplace").decode("ascii") + "\n")


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the answer any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    sys.exit(code)
