"""Functions of one byte, looked up: a gather from 256 values, negative bytes counting from the end."""

from __future__ import annotations

from functools import partial

from secateur.ir.graph import Operator

from ..kernel import Kernel
from ..targets import Target
from .gather import GatherSpec, build
from .generic import Generic, storage, type_after
from .loops import nest_tasks


class Table(Generic):
    """`q.table` with a constant table."""

    name = "table"
    operators = ("table",)

    def applicable(self, op: Operator, target: Target) -> str | None:
        return None if len(self.constants(op, target)) == 1 else "needs a constant table"

    def kernel(self, op: Operator, target: Target) -> Kernel:
        x, table = (v.type for v in op.operands)
        types = storage(table.dtype), storage(x.dtype)
        spec = GatherSpec(1, type_after(op).elements, 1, table.elements, *types, index_first=True)
        return Kernel(
            "table", spec, partial(build, spec, target.lanes), nest_tasks((1, spec.picked), 8.0).count
        )


PRIMITIVES = (Table(),)
