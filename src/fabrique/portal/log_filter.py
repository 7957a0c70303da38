"""What a log may hold: no token of a link, and no traceback for a request that was merely wrong."""

from __future__ import annotations

import logging
import re
import traceback
from typing import Final

from django.core.exceptions import SuspiciousOperation
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

# the path as it is, or written into the query of another address
_TOKEN: Final = re.compile(r"(?i)((?:/|%2f)(?:sign-in|join)(?:/|%2f))[^\s/?&#\"'<>]{1,4096}")
_MERELY_WRONG: Final = (SuspiciousOperation, MultiPartParserError, UnreadablePostError)


class Discreet(logging.Filter):
    """Rewrites the record before anything is made of it; lets every record pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = without_tokens(record.getMessage()), ()
        if record.exc_info and record.exc_info[0] is not None:
            if issubclass(record.exc_info[0], _MERELY_WRONG):
                record.exc_info = record.exc_text = None
            else:
                record.exc_text = without_tokens("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return True


def without_tokens(text: str) -> str:
    """`text` with every token of a link (sign-in, invitation) replaced, on one line each as it came."""
    return _TOKEN.sub(r"\1…", text)
