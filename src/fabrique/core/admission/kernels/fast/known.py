"""Known cells are written into the functions that read them, before Numba looks at what they do."""
# mypy: disable-error-code="import-untyped, no-untyped-call, untyped-decorator"

from __future__ import annotations

from typing import Any

from numba.core import ir
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import FunctionPass, register_pass
from numba.core.ir_utils import get_definition, guard
from numba.core.untyped_passes import InlineClosureLikes

from fabrique.core.admission.kernels.fast.cells import Cells


@register_pass(mutates_CFG=False, analysis_only=False)
class _WriteKnown(FunctionPass):
    """Known cells become constants before anything is typed: branches that they close are not even looked into."""

    _name = "write_known_cells"

    def __init__(self) -> None:
        super().__init__()

    def run_pass(self, state: Any) -> bool:
        known = state.args[0].known if state.args and isinstance(state.args[0], Cells) else {}
        changed = False
        for block in state.func_ir.blocks.values() if known else ():
            for assignment in block.find_insts(ir.Assign):
                read = assignment.value
                if not isinstance(read, ir.Expr) or read.op != "getitem" or not _is_first(state.func_ir, read.value):
                    continue
                cell = _number(state.func_ir, read.index)
                if cell in known:
                    constant = ir.Const(known[cell], read.loc)
                    assignment.value = constant
                    state.func_ir._definitions[assignment.target.name] = [constant]
                    changed = True
        return changed


def _is_first(func_ir: Any, variable: Any) -> bool:
    """Whether a variable is the function's first argument: its cells."""
    found = guard(get_definition, func_ir, variable)
    return isinstance(found, ir.Arg) and found.index == 0


def _number(func_ir: Any, variable: Any) -> object:
    """What a variable is before the code runs: a constant, a name of the module, or `of.NAME` of another; else None."""
    found = guard(get_definition, func_ir, variable)
    if isinstance(found, ir.Expr) and found.op == "getattr":
        return getattr(_number(func_ir, found.value), found.attr, None)
    return found.value if isinstance(found, ir.Const | ir.Global | ir.FreeVar) else None


class Pipeline(CompilerBase):
    """Numba's own, with one pass more."""

    def define_pipelines(self) -> list[Any]:
        stages = DefaultPassBuilder.define_nopython_pipeline(self.state)
        stages.add_pass_after(_WriteKnown, InlineClosureLikes)
        stages.finalize()
        return [stages]


MACHINE_CODE = (_WriteKnown.run_pass, _is_first, _number)  # what the digest of the kernel must know of this room
