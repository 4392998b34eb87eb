"""Primitives of which an operator takes several kernels, one after another."""

from __future__ import annotations

from abc import abstractmethod

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Operator

from ...kernel import Kernel
from ...primitives.operator import Argument, Constant, Operand, Primitive, Stage
from ...targets.target import Target


class Staged(Primitive):
    """Its kernels find each other's results in the operator's workspace."""

    @abstractmethod
    def kernels(self, op: Operator, target: Target) -> tuple[Kernel, ...]: ...

    @abstractmethod
    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]: ...

    def arguments(self, op: Operator, target: Target) -> tuple[Argument, ...]:
        """Of all its kernels."""
        given = (a for stage in self.stages(op, target) for a in stage.arguments)
        return tuple(a for a in given if isinstance(a, (Operand, Constant)))

    def kernel(self, op: Operator, target: Target) -> Kernel:
        raise SecateurError(f"{op.called}: '{self.name}' has several kernels")
