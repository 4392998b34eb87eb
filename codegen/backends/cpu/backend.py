"""The backend of processors: kernels by TVM and LLVM, a driver, and the C runtime, in one shared library."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from secateur.ir.choice import CostTable

from ...kernel import Kernel
from ...primitives.registry import Primitives
from ...program import Module, Program
from ...targets.target import Target
from ..backend import KernelBackend

if TYPE_CHECKING:
    from ...link import Parts


class CpuBackend(KernelBackend):
    """Primitives take a second to import, LLVM and TVM several: each method imports what it needs."""

    name = "cpu"
    streams = True

    @property
    def primitives(self) -> Primitives:
        from .primitives import PRIMITIVES

        return PRIMITIVES

    def costs(self, target: Target) -> CostTable:
        from .costs import AnalyticCosts

        return AnalyticCosts(target)

    def pairs(self, target: Target) -> bool:
        return target.isa.adds_across

    def has_words(self, target: Target) -> bool:
        return target.isa.shifts is not None

    def compile(self, kernel: Kernel, symbol: str, target: Target) -> Module:
        from .objects import build_object

        return build_object(kernel, symbol, target)

    def linked(self, program: Program) -> tuple[Program, Parts]:
        from ...link import processor_parts

        return program, processor_parts(program)

    def texts(self, emitted: Program) -> Iterator[tuple[str, str]]:
        """TIR, LLVM IR and assembly of every kernel."""
        from .objects import texts_of

        for module in emitted.modules:
            texts = texts_of(module, emitted.kernels[module.symbol], emitted.target)
            yield from ((f"{module.symbol}.{suffix}", text) for suffix, text in texts.items())


BACKEND = CpuBackend()
