"""How the phases are compiled: in one piece with the entry that calls them, which alone is kept on disk."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from types import FunctionType, ModuleType
from typing import Any, TypeVar, cast

import numba

from fabrique.core.admission.kernels.fast import cells, known

F = TypeVar("F", bound=Callable[..., object])
_njit: Any = numba.njit

_parts = [*cells.MACHINE_CODE, *known.MACHINE_CODE]


def compiled(function: F) -> F:
    """A part of the kernel. Integers only: a division by zero can't happen here and isn't looked for."""
    _parts.append(cast(FunctionType, function))
    return _njit(
        nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, pipeline_class=known.Pipeline
    )(function)


def entry(function: F) -> F:
    """What Python calls; kept on disk, so that only the first process on a machine compiles it."""
    return _njit(cache=True, nogil=True, error_model="numpy")(function)


def digest(*others: object) -> int:
    """Changes with the code of any part, and with the numbers it names: an entry closes over it, so that a kept one is
    never older than its parts. `others` are what else the entries depend on.
    """
    told = [repr(others).encode()]
    for function in _parts:
        code = function.__code__
        numbers = sorted({*_numbers(function.__globals__, code.co_names), *_enclosed(function)})
        told.append(code.co_code + repr((code.co_names, code.co_consts, numbers)).encode())
    return zlib.crc32(b"".join(told))


def _numbers(names: dict[str, Any], used: tuple[str, ...]) -> Iterator[tuple[str, int]]:
    """Those of the module, and those of other modules that it names."""
    for name in used:
        value = names.get(name)
        if isinstance(value, int):
            yield name, value
        elif isinstance(value, ModuleType):
            yield from ((of, number) for of, number in vars(value).items() if of in used and isinstance(number, int))


def _enclosed(function: FunctionType) -> Iterator[tuple[str, int]]:
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        if isinstance(cell.cell_contents, int):
            yield name, cell.cell_contents
