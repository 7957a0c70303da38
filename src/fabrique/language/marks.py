"""Marks an English text for the catalogues where it stands, so that a table can be translated when it is said."""

from __future__ import annotations


def msg(text: str) -> str:
    """`text` itself; `tools/catalogue.py` collects every call."""
    return text
