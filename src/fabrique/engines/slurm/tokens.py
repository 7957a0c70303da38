"""Tokens for slurmrestd: made anew for each request from a key that stays in its file, and never written down."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Final

from fabrique.core.errors import FabriqueError

LIFE_S: Final = 120  # for one request, with room for two clocks that differ
_SKEW_S: Final = 30
_LEAST_KEY: Final = 16


def token(key_file: Path, user: str, now_s: int) -> str:
    """A JSON Web Token (HS256) that lets its bearer act as `user` until `now_s` + 2 minutes.

    Raises `engine.unavailable` while the key can't be read.
    """
    try:
        key = key_file.read_bytes()
    except OSError as error:
        raise FabriqueError("engine.unavailable", why=f"the key of slurmrestd: {error.strerror}") from None
    if len(key) < _LEAST_KEY:
        raise FabriqueError("engine.unavailable", why="the key of slurmrestd is too short")
    head = _part({"alg": "HS256", "typ": "JWT"})
    claims = _part({"exp": now_s + LIFE_S, "iat": now_s - _SKEW_S, "sun": user})
    signed = head + b"." + claims
    return (signed + b"." + _text(hmac.new(key, signed, hashlib.sha256).digest())).decode()


def _part(content: dict[str, object]) -> bytes:
    return _text(json.dumps(content, separators=(",", ":")).encode())


def _text(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
