"""A job's log on its way to a terminal: text only, whatever the bytes and wherever they are cut."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fabrique.cli.logs import Plain

MOVES = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
PIECES = st.lists(
    st.sampled_from([b"\x1b[31m", b"\x1b]0;title\x07", b"\x1b", b"[2J", b"]52;c;", b"\x9b1m", b"text", b"\r", b"\n"])
    | st.binary(max_size=8),
    max_size=12,
)


def plain(*chunks: bytes) -> str:
    reader = Plain()
    return "".join(reader.text(c) for c in chunks) + reader.text(b"", last=True)


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"loss 0.5\n", "loss 0.5\n"),
        (b"\x1b[31mred\x1b[0m\n", "red\n"),
        (b"\x1b]0;your shell\x07after", "after"),
        (b"\x1b]52;c;ZXZpbA==\x1b\\after", "after"),
        (b"\x1bP$q\x1b\\after", "after"),
        (b"10%\r20%\r\ndone", "10%\n20%\ndone"),
        (b"a\tb", "a       b"),
        ("é\u202eevil".encode(), "é\ufffdevil"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"end\x1b[3", "end"),
    ],
)
def test_sequences_go_and_text_stays(data: bytes, shown: str) -> None:
    assert plain(data) == shown


@given(PIECES)
def test_nothing_that_moves_a_cursor_is_left(pieces: list[bytes]) -> None:
    assert not MOVES.search(plain(b"".join(pieces)))
    assert not MOVES.search(plain(*pieces))


@example([b"\r", b"\x1b[31m", b"\n"], 3)
@example([b"\r", b"\x1b[31m", b"\x1b[0m", b"\n"], 8)
@given(PIECES, st.integers(0, 60))
def test_where_it_is_cut_makes_no_difference(pieces: list[bytes], cut: int) -> None:
    whole = b"".join(pieces)
    if b"\t" not in whole:  # a tab's width depends on what stands before it
        assert plain(whole[:cut], whole[cut:]) == plain(whole)


def test_a_sequence_without_end_is_not_kept_for_ever() -> None:
    reader = Plain()
    assert reader.text(b"\x1b[" + b"1" * 10_000) != "" or len(reader._held) < 5_000
