"""Reading YAML from strangers: what is read, and what is refused, at which line."""

from __future__ import annotations

import os
import re
import string
import time
from pathlib import Path

import pytest

from fabrique.definitions import yaml
from fabrique.definitions.complaints import COMPLAINTS, SHAPES, Complaint, say


def complaints(text: str | bytes) -> list[tuple[int, str]]:
    raw = text.encode() if isinstance(text, str) else text
    document, found = yaml.parse(raw, "f.yaml")
    assert (document is None) == bool(found)
    return [(c.line, c.code) for c in found]


def test_scalars_are_those_of_yaml_1_2() -> None:
    text = "a: NO\nb: 22:00\nc: 1.5\nd: 0x1F\ne: ~\nf:\ng: 2024-12-10\nh: true\ni: '1'\nj: on\nk: 1_000\nl: -7\n"
    document, found = yaml.parse(text.encode(), "f.yaml")
    assert not found and document is not None
    assert document.data == {
        "a": "NO", "b": "22:00", "c": 1.5, "d": 31, "e": None, "f": None, "g": "2024-12-10", "h": True, "i": "1",
        "j": "on", "k": "1_000", "l": -7,
    }  # fmt: skip


def test_every_value_has_its_place() -> None:
    document, _ = yaml.parse(b"# remark\nsites:\n  - id: one\n    name:\n      value: x\n  - id: two\n", "f.yaml")
    assert document is not None
    assert document.line(("sites",)) == 2
    assert document.places[("sites", 0, "name", "value")] == (5, 7)
    assert document.line(("sites", 1, "id")) == 6
    assert document.line(("sites", 1, "absent", "deeper")) == 6
    assert yaml.dotted(("sites", 1, "id")) == "sites[1].id"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: !!python/object:os.system x\n", [(2, "yaml.tag")]),
        ("a: !local x\n", [(1, "yaml.tag")]),
        ("a: &x [1]\nb: *x\n", [(1, "yaml.anchor")]),
        ("a: 1\nb: *x\n", [(2, "yaml.anchor")]),
        ("a: 1\nb: 2\na: 3\n", [(3, "yaml.duplicate-key")]),
        ("a:\n  x: 1\n  x: 2\nb: 1\nb: 2\n", [(3, "yaml.duplicate-key"), (5, "yaml.duplicate-key")]),
        ("%YAML 1.1\n---\na: 1\n", [(2, "yaml.directive")]),
        ("a: 1\n---\nb: 2\n", [(2, "yaml.several-documents")]),
        ("", [(1, "yaml.empty")]),
        ("# nothing\n", [(1, "yaml.empty")]),
        ("? [1, 2]\n: 3\n", [(1, "yaml.key-not-text")]),
        ("a: [1,\nb\n", [(3, "yaml.syntax")]),
        ("a: 'x\n", [(2, "yaml.syntax")]),
        ("a: .inf\nb: .nan\nc: 1e999\n", [(1, "yaml.number"), (2, "yaml.number"), (3, "yaml.number")]),
        ("a: " + "9" * 5000 + "\n", [(1, "yaml.number")]),
        ("[" * 60, [(1, "yaml.too-deep")]),
        ("x: " + "{a: " * 60, [(1, "yaml.too-deep")]),
        ("a: 1\nb: \x1b[2J\n", [(2, "file.control-character")]),
        ('a: 1\nb: "\\u001b[2J"\n', [(2, "file.control-character")]),
        ('b: "\\uD800"\n', [(1, "file.control-character")]),
        ("a: \x00\n", [(1, "file.control-character")]),
        (b"a: 1\nb: \xff\n", [(2, "file.not-utf8")]),
        ("x" * 20_000, [(1, "file.long-line")]),
        ("!" * 1_000_000, [(1, "file.long-line")]),
        ("- a\n" * 20_001, [(20_000, "yaml.too-many")]),
        (b"a" * (yaml.MOST_BYTES + 1), [(0, "file.too-large")]),
    ],
)
def test_what_is_refused_and_where(text: str | bytes, expected: list[tuple[int, str]]) -> None:
    assert complaints(text) == expected


def test_a_billion_laughs_stops_at_the_first_anchor() -> None:
    rows = ["a0: &a0 [lol]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert complaints("\n".join(rows)) == [(1, "yaml.anchor")]


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    with path.open("wb") as file:
        file.truncate(50_000_000)
    start = time.monotonic()
    document, found = yaml.read(path)
    assert time.monotonic() - start < 0.5
    assert document is None
    assert [(c.code, c.params) for c in found] == [("file.too-large", {"size": 50_000_000, "most": yaml.MOST_BYTES})]


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for path, code in (
        (tmp_path / "pipe", "file.not-regular"),
        (tmp_path, "file.not-regular"),
        (Path("/dev/zero"), "file.not-regular"),
        (tmp_path / "absent", "file.missing"),
        (tmp_path / "large.yaml" / "x", "file.missing"),
        (loop, "file.unreadable"),
        (Path("\0"), "file.unreadable"),
    ):
        document, found = yaml.read(path)
        assert document is None
        assert [c.code for c in found] == [code], path


def test_a_byte_order_mark_and_windows_ends_of_line_are_fine() -> None:
    document, found = yaml.parse(b"\xef\xbb\xbfa: 1\r\nb: x\r\n", "f.yaml")
    assert not found and document is not None and document.data == {"a": 1, "b": "x"}


def test_complaints_are_said_in_both_languages() -> None:
    complaint = Complaint("f.yaml", 3, "a", "yaml.duplicate-key", {"key": "a", "first": 1})
    assert say(complaint, "en") == "f.yaml:3: a: “a” is already given on line 1"
    assert say(complaint, "fr-CA") == "f.yaml:3\u00a0: a\u00a0: «\u00a0a\u00a0» figure déjà à la ligne 1"
    shape = Complaint("f.yaml", 3, "a", "value.type", {"expected": "whole-number"})
    assert say(shape, "fr-FR").endswith("attendu\u00a0: un nombre entier")
    assert say(Complaint("f.yaml", 0, "", "file.missing")) == "f.yaml: there is no such file"


def test_both_languages_use_the_same_parameters() -> None:
    for code, sentences in COMPLAINTS.items():
        used = [sorted(name for _, name, _, _ in string.Formatter().parse(s) if name) for s in sentences]
        assert used[0] == used[1], code
        assert sentences[0] != sentences[1], code
        outside = re.sub("«.*?»", "", sentences[1])
        assert not re.search(r"\w: ", outside), f"{code}: a no-break space stands before a colon"
    assert all(len(pair) == 2 for pair in SHAPES.values())


def test_a_complaint_never_carries_what_moves_a_cursor() -> None:
    complaint = Complaint("f", 1, "\x1b[2J", "value.unknown-key", {"key": "\u202e\x07" + "x" * 1000})
    said = say(complaint)
    assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said
    assert len(said) < 600


def test_an_unknown_code_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="unknown complaint"):
        Complaint("f", 1, "", "made.up")
