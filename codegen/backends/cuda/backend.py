"""The backend of NVIDIA's GPUs: PTX by TVM and LLVM, a driver on the host, the device part of the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from secateur.ir.choice import CostTable

from ...kernel import Kernel
from ...primitives.registry import Primitives
from ...program import Module, Program
from ...targets.target import Target
from ..backend import KernelBackend

if TYPE_CHECKING:
    from ...link import Parts


class CudaBackend(KernelBackend):
    """Primitives take a second to import, LLVM and TVM several: each method imports what it needs."""

    name = "cuda"

    @property
    def primitives(self) -> Primitives:
        from .primitives import PRIMITIVES

        return PRIMITIVES

    def costs(self, target: Target) -> CostTable:
        from .costs import GpuCosts

        return GpuCosts(target)

    def compile(self, kernel: Kernel, symbol: str, target: Target) -> Module:
        from .ptx.modules import build_module

        return build_module(kernel, symbol, target)

    def linked(self, program: Program) -> tuple[Program, Parts]:
        from .parts import on_host, parts_of

        return on_host(program), parts_of(program)

    def check_finishing(self) -> None:
        from .ptx.assembler import assembler

        assembler()

    def finished(self, emitted: Program) -> Program:
        from .parts import ptx_of
        from .ptx.assembler import assemble

        return replace(emitted, finished=assemble(ptx_of(emitted), emitted.target.cuda.architecture))

    def texts(self, emitted: Program) -> Iterator[tuple[str, str]]:
        """TIR, LLVM IR and PTX of every kernel; of finished code the instructions."""
        from .ptx.assembler import sass
        from .ptx.modules import texts_of

        for module in emitted.modules:
            texts = texts_of(module, emitted.kernels[module.symbol], emitted.target)
            yield from ((f"{module.symbol}.{suffix}", text) for suffix, text in texts.items())
        if emitted.finished and (text := sass(emitted.finished)):
            yield "model.sass", text


BACKEND = CudaBackend()
