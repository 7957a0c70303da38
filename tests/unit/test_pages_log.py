"""What a job prints, made fit to be shown: nothing in it can move, hide or run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fabrique.portal.log_stream import readable


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"plain\nlines\n", "plain\nlines\n"),
        (b"\x1b[1;31mred\x1b[0m text", "red text"),
        (b"\x1b]0;a title\x07after", "after"),
        (b"\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"10 %\r50 %\r100 %\ndone", "100 %\ndone"),
        (b"windows\r\nlines\r\n", "windows\nlines\n"),
        (b"a\0b\x08c", "a\ufffdb\ufffdc"),
        (b"caf\xc3\xa9 \xff", "caf\u00e9 \ufffd"),
        ("right\u202eleft".encode(), "right\ufffdleft"),
        (b"<script>alert(1)</script>", "<script>alert(1)</script>"),  # text: the page escapes it
    ],
)
def test_what_is_shown(raw: bytes, shown: str) -> None:
    assert readable(raw) == shown


@given(st.binary(max_size=400))
def test_nothing_unprintable_is_left(raw: bytes) -> None:
    shown = readable(raw)
    assert all(c in "\n\t" or c >= " " for c in shown)
    assert "\x7f" not in shown and "\x1b" not in shown and "\x9b" not in shown
