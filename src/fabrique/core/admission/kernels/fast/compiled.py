"""How the phases are compiled: in one piece with the entry that calls them, which alone is kept on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., object])
_njit: Any = numba.njit

_codes: list[bytes] = []


def compiled(function: F) -> F:
    """A part of the kernel. Integers only: a division by zero can't happen here and isn't looked for."""
    code = function.__code__
    _codes.append(code.co_code + repr((code.co_names, code.co_consts, code.co_freevars)).encode())
    return _njit(nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)


def entry(function: F) -> F:
    """What Python calls; kept on disk, so that only the first process on a machine compiles it."""
    return _njit(cache=True, nogil=True, error_model="numpy")(function)


def digest() -> int:
    """Changes with the code of any part: an entry closes over it, so that a kept one is never older than its parts."""
    return zlib.crc32(b"".join(_codes))
