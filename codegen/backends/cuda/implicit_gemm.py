"""Convolutions as matrix products whose matrix of pixels is never stored, in bytes and in floats.

A step's operands come from memory into shared memory: pixels as their blocks of channels lie, 16 bytes of
four words, and packed weights. A word is four bytes, multiplied by `dp4a`, or a float.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Operator
from secateur.ir.types import DType

from ...kernel import Kernel
from ...primitives.conv.half import PREFIX
from ...primitives.conv.int8_spec import LinearSpec
from ...primitives.conv.linear_operators import PaddingConvolution
from ...primitives.conv.operators import Convolution, extra_kind
from ...primitives.conv.tile import pack_bias
from ...primitives.operator import Primitive, Result, Scratch, Stage, constant_of
from ...primitives.specs import ConvSpec, Floats, HalfConvSpec, layout_block
from ...rounding import up
from ...targets.target import Target
from .gemms import build
from .implicit_gemm_kernel import GemmSpec
from .matrix_tile import WmmaTile
from .panels import best, panels
from .rates import matrix_rate, most_sums, word_rate
from .split_gemm import parts_kernel, sum_kernel
from .thread import thread_of
from .tile import Tile, Work
from .wmma_gemm import MIDDLE

Array = NDArray[Any]


@dataclass(frozen=True)
class ImplicitGemm:
    """Any kernel, stride, dilation and padding; one group; channels in blocks of 16 bytes."""

    name: str = "implicit_gemm"
    parted: ClassVar[bool] = True  # sums may be of several blocks of threads, and memory copied as it lies

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        thread = thread_of(target)
        return (spec.blocked_layouts(thread.in_half if spec.element_bytes == 2 else thread),)

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.groups != 1:
            return f"{spec.groups} groups"
        if (spec.in_layout, spec.out_layout) not in self.layouts(spec, target):
            return f"layouts {spec.in_layout} -> {spec.out_layout}"
        return None if self.tile(spec, target) else "no tile fits the GPU"

    def work(self, spec: ConvSpec, target: Target) -> Work:
        blocks, filters = self.blocks(spec, target), self.filters(spec, target)
        taps = spec.kernel[0] * spec.kernel[1]
        read = spec.batch * spec.channels * spec.height * spec.width + spec.filters * spec.channels * taps
        written = spec.batch * spec.filters * spec.pixels * spec.result_bytes
        moved = read * spec.element_bytes + written
        rate, most = word_rate(target, spec.element_bytes), most_sums(target, spec.element_bytes)
        matrix = matrix_rate(target, spec.element_bytes)
        limit = spec.workspace_limit
        spare = (inf if limit is None else float(limit)) if self.parted else 0.0
        sizes = (spec.batch * spec.pixels, filters, blocks * taps)
        return Work(*sizes, rate, float(moved), 1, most, matrix, spare_bytes=spare, deep=self.parted)

    def blocks(self, spec: ConvSpec, target: Target) -> int:
        block = layout_block(self.layouts(spec, target)[0][0])
        return up(spec.channels, block) // block

    def blocks_read(self, spec: ConvSpec, target: Target) -> int:
        """Of channels, by a tile of filters."""
        return self.blocks(spec, target)

    def filters(self, spec: ConvSpec, target: Target) -> int:
        """In whole blocks of the result, and of what bytes' constants are padded to."""
        return up(spec.filters, 16 if spec.element_bytes == 1 else 16 // spec.element_bytes)

    def tile(self, spec: ConvSpec, target: Target) -> Tile | None:
        return best(self.work(spec, target), self.blocks(spec, target), target)

    def _tile(self, spec: ConvSpec, target: Target) -> Tile:
        tile = self.tile(spec, target)
        assert tile is not None, "applicable() was not asked"
        return tile

    def estimate(self, spec: ConvSpec, target: Target) -> float:
        return self.work(spec, target).seconds(self._tile(spec, target), target)

    def offset(self, spec: ConvSpec, target: Target) -> int:
        """What is taken from bytes before they are multiplied, as some instructions take signed ones."""
        return MIDDLE if isinstance(self._tile(spec, target), WmmaTile) else 0

    def workspace(self, spec: ConvSpec, target: Target) -> int:
        """Bytes of partial sums."""
        return self.work(spec, target).partial_bytes(self._tile(spec, target))

    def workspaces(self, spec: ConvSpec, target: Target) -> tuple[int, ...]:
        """With partial sums, where that is faster, and without."""
        return tuple(dict.fromkeys((self.workspace(spec, target), 0)))

    def tiling_words(self, spec: ConvSpec, target: Target) -> dict[str, str]:
        tile = self._tile(spec, target)
        return {**tile.words, "waves": f"{self.work(spec, target).tasks(tile)} blocks"}

    def pack(self, spec: ConvSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        """OIHW to [filter tile][step of blocks][kh][kw][block of a step] of `panels`."""
        tile = self._tile(spec, target)
        count = up(self.filters(spec, target), tile.filters)
        element = 4 // spec.element_bytes  # of a word
        channels = self.blocks_read(spec, target) * 4 * element
        given = weights.reshape(*weights.shape[:2], *spec.kernel)
        padded = np.pad(given, [(0, count - given.shape[0]), (0, channels - given.shape[1]), (0, 0), (0, 0)])
        split = padded.reshape(count // tile.filters, tile.filters, -1, tile.blocks, 4, element, *spec.kernel)
        packed = panels(tile, split.transpose(0, 2, 6, 7, 3, 1, 4, 5))
        return (packed, *pack_bias(bias, spec.filters, self.filters(spec, target)))

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        key = self._key(spec, target)
        tile, tasks = key.tile, self.work(spec, target).tasks(key.tile)
        return Kernel(self.name, key, partial(build, key), tasks, tile.shared_bytes, threads=tile.threads)

    def kernels(self, spec: ConvSpec, target: Target) -> tuple[Kernel, Kernel] | None:
        """The two where sums are of several blocks of threads, else None."""
        if self._tile(spec, target).splits == 1:
            return None
        key = self._key(spec, target)
        return parts_kernel(self.name, key, self.work(spec, target).tasks(key.tile)), sum_kernel(
            self.name, key
        )

    def _key(self, spec: ConvSpec, target: Target) -> GemmSpec:
        plain = spec.unbordered() if isinstance(spec, LinearSpec) else spec
        tile, dot = self._tile(spec, target), target.cuda.architecture.dot
        return GemmSpec(replace(plain, workspace_limit=None), tile, self.blocks(spec, target), dot)


def _unaligned(op: Operator, first: int) -> str | None:
    """Refuses operands of an epilogue that may lie anywhere: those computed at run time, and not whole."""
    for value in op.operands[first:]:
        if constant_of(value) is None and extra_kind(value.type, op.result.type) != "full":
            return "an operand of the epilogue that is computed at run time has not the result's shape"
    return None


class Parted(Primitive):
    """Has two kernels where sums are of several blocks of threads."""

    primitive: Any
    constants_of_parts = 1  # arguments behind the epilogue's operands that the first of the two reads

    @abstractmethod
    def on(self, op: Operator, target: Target) -> Any:
        """The specification of the kernels."""

    @abstractmethod
    def extras(self, op: Operator, target: Target) -> int:
        """Operands of the epilogue among the arguments."""

    def stages(self, op: Operator, target: Target) -> tuple[Stage, ...]:
        parted = self.primitive.parted
        kernels = self.primitive.kernels(self.on(op, target), target) if parted else None
        if kernels is None:
            return super().stages(op, target)
        data, *rest = self.arguments(op, target)
        first = self.extras(op, target)
        after = first + self.constants_of_parts
        ending = (*rest[:first], Scratch(0), *rest[after:], Result())
        return (
            Stage(kernels[0], (data, *rest[first:after], Scratch(0))),
            Stage(kernels[1], ending, macs=False),
        )


class FloatGemm(Parted, Convolution):
    """`nn.conv` of floats."""

    def on(self, op: Operator, target: Target) -> ConvSpec:
        return self.spec(op)

    def extras(self, op: Operator, target: Target) -> int:
        return len(self.spec(op).extras)

    def refusal(self, op: Operator) -> str | None:
        return super().refusal(op) or _unaligned(op, 2)


class HalfGemm(FloatGemm):
    """`nn.conv` of binary16 with sums in it."""

    dtype = DType.F16
    kind = HalfConvSpec

    def __init__(self, primitive: Any, *, spreads: bool = False) -> None:
        super().__init__(primitive, spreads=spreads)
        self.name = PREFIX + self.name

    def applicable(self, op: Operator, target: Target) -> str | None:
        if not target.cuda.architecture.half2:
            return "no fast arithmetic in binary16"
        return super().applicable(op, target)


class BytesGemm(Parted, PaddingConvolution):
    """`q.linear_conv`."""

    constants_of_parts = 2

    def extras(self, op: Operator, target: Target) -> int:
        return int(bool(self.on(op, target).ending.residual))

    def refusal(self, op: Operator) -> str | None:
        return super().refusal(op) or ("a residual that reaches some channels" if op["reach"] else None)

    def offset(self, spec: LinearSpec, target: Target) -> int:
        found: int = self.primitive.offset(spec, target)
        return found

    def on(self, op: Operator, target: Target) -> LinearSpec:
        return replace(self.spec(op), full=False)

    def kernel(self, op: Operator, target: Target) -> Kernel:
        kernel: Kernel = self.primitive.kernel(self.on(op, target), target)
        return kernel


GEMM = ImplicitGemm()
PRIMITIVES = (FloatGemm(GEMM), HalfGemm(GEMM), BytesGemm(GEMM))
