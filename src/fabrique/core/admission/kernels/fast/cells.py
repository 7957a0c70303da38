"""The block of memory as compiled code sees it: the address of its first cell, and what is known of its head.

An array in Numba costs a test for negative rows at every access, and a count of its owners at every call; an address
costs neither. The head of a block (its directory and the rules' flags) never changes while compiled code runs, and the
compiler is told so: it reads a table's place once, not after every write. Cells of the head that are *known* are
constants of the type: what such rules or such a fleet do not use is left out of the machine code.
"""
# mypy: disable-error-code="import-untyped, no-untyped-call, untyped-decorator"

from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.typing import templates
from numba.extending import intrinsic, lower_builtin, models, register_model

Known = tuple[tuple[int, int], ...]  # (cell of the head, its value)


class Cells(types.Type):
    """`known` is part of the type: another `known`, another compiled function."""

    def __init__(self, known: Known) -> None:
        self.known = dict(known)
        super().__init__(name=f"Cells({', '.join(f'{cell}={value}' for cell, value in known)})")


@register_model(Cells)
class _Address(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Cells) -> None:
        super().__init__(manager, kind, ir.IntType(64).as_pointer())


@templates.infer_global(operator.getitem)
class _Read(templates.AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Cells) and isinstance(args[1], types.Integer):
            return templates.signature(types.int64, args[0], types.int64)
        return None


@templates.infer_global(operator.setitem)
class _Write(templates.AbstractTemplate):
    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Cells) and isinstance(args[1], types.Integer):
            return templates.signature(types.none, args[0], types.int64, types.int64)
        return None


@templates.infer
class _ReadHead(templates.AbstractTemplate):
    """A cell whose number is written in the code is one of the head's."""

    key = "static_getitem"

    def generic(self, args: Any, kws: Any) -> Any:
        if isinstance(args[0], Cells) and isinstance(args[1], int):
            return templates.signature(types.int64, *args)
        return None


@lower_builtin(operator.getitem, Cells, types.Integer)
def _read(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.load(builder.gep(args[0], [args[1]]))


@lower_builtin(operator.setitem, Cells, types.Integer, types.Integer)
def _write(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    builder.store(args[2], builder.gep(args[0], [args[1]]))
    return context.get_dummy_value()


@lower_builtin("static_getitem", Cells, types.IntegerLiteral)
def _read_head(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    known = sig.args[0].known.get(args[1])
    if known is not None:
        return context.get_constant(types.int64, known)
    value = builder.load(builder.gep(args[0], [context.get_constant(types.int64, args[1])]))
    value.set_metadata("invariant.load", builder.module.add_metadata([]))
    return value


def of_block(known: Known) -> Any:
    """The compiled function that takes a block (an array) as cells of which so much is known."""

    @intrinsic
    def cells(typing: Any, block: Any) -> Any:
        def address(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            return context.make_array(sig.args[0])(context, builder, args[0]).data

        return templates.signature(Cells(known), block), address

    return cells


MACHINE_CODE = (_read, _write, _read_head)  # what the digest of the kernel must know of this room
