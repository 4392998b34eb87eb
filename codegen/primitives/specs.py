"""What a primitive answers, and the specifications of the operators primitives compute.

A specification is frozen, and its repr with the target determines the kernel's
code; weights are no part of it. Layout names are those of `secateur.ir.types`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from secateur.ir.elementwise import Epilogue, extra_operands
from secateur.ir.support.reach import Reach

from ..rounding import up
from ..targets.target import Target

Floats = NDArray[np.float32]

_MOST_COLUMNS = 11  # of a kernel whose taps are written out one by one
_MOST_DILATED = 5
TILE_VECTORS = (1, 2, 3, 4)

EXTRA_KINDS = ("full", "channel", "scalar")
Extra = str | Reach


def check_epilogue(epilogue: Epilogue, extras: tuple[Extra, ...]) -> None:
    """ValueError where `extras` does not name one known kind for each binary step."""
    if len(extras) != extra_operands(epilogue):
        wanted = extra_operands(epilogue)
        raise ValueError(f"the epilogue takes {wanted} extra operands, {len(extras)} are given")
    for kind in extras:
        if kind not in EXTRA_KINDS and not isinstance(kind, Reach):
            raise ValueError(f"unknown kind of extra operand '{kind}'; known: {', '.join(EXTRA_KINDS)}")


def check_groups(groups: int, channels: int, filters: int) -> None:
    if channels % groups or filters % groups:
        raise ValueError(f"{groups} groups do not divide {channels} channels and {filters} filters")


@dataclass(frozen=True)
class WindowSpec(ABC):
    """What a 2-D convolution and a transposed one have in common.

    `extras` tells, for each binary step of the epilogue, what its operand is:
    "full" (shape and layout of the output), "channel" (one float32 for each
    filter; padded with zeros to whole blocks where the output is blocked),
    "scalar" (one float32) or the `Reach` of one that some channels meet, laid
    out as the output. `pads` are (top, left, bottom, right).
    """

    batch: int
    channels: int
    height: int
    width: int
    filters: int
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False
    epilogue: Epilogue = ()
    extras: tuple[Extra, ...] = ()
    in_layout: str = "NCHW"
    out_layout: str = "NCHW"

    def __post_init__(self) -> None:
        check_epilogue(self.epilogue, self.extras)
        check_groups(self.groups, self.channels, self.filters)
        if self.out_height < 1 or self.out_width < 1:
            size = f"{self.height}x{self.width}"
            raise ValueError(f"kernel {self.kernel} does not fit {size} with pads {self.pads}")

    @abstractmethod
    def out_extent(self, axis: int) -> int:
        """Rows (axis 0) or columns (1) of the result."""

    @cached_property
    def out_height(self) -> int:
        return self.out_extent(0)

    @cached_property
    def out_width(self) -> int:
        return self.out_extent(1)

    @cached_property
    def pixels(self) -> int:
        """Output pixels of one image."""
        return self.out_height * self.out_width

    def span(self, axis: int) -> int:
        """Rows or columns from the kernel's first tap to its last."""
        return self.dilations[axis] * (self.kernel[axis] - 1) + 1

    @property
    def wide(self) -> bool:
        """Whether the taps of a kernel row are gone through in a loop: written out, they take too much code.

        With dilation, the pixels of a tile at the border see other taps each.
        """
        return self.kernel[1] > (_MOST_COLUMNS if self.dilations[1] == 1 else _MOST_DILATED)

    def padded(self, axis: int) -> int:
        """What padding adds to the input's extent."""
        return self.pads[axis] + self.pads[axis + 2]

    def filter_vectors(self, lanes: int) -> int:
        """Vectors of `lanes` filters in all blocks of the result."""
        return up(self.filters, max(lanes, layout_block(self.out_layout))) // lanes

    def filter_groups(self, lanes: int, vectors: int) -> int:
        """Groups of `vectors` vectors of filters, as a register tile has."""
        return self.filter_vectors(lanes) // vectors

    def tile_vectors(self, lanes: int) -> list[int]:
        """Vectors that a register tile may have, so that groups of them make up the filters."""
        return [v for v in TILE_VECTORS if self.filter_vectors(lanes) % v == 0]


def _costed(kind: Extra) -> str:
    """An operand that some channels meet costs no more than one that all do."""
    return kind if isinstance(kind, str) else "full"


@dataclass(frozen=True)
class ConvSpec(WindowSpec):
    """A 2-D convolution with its epilogue; weights are (filters, channels / groups, kh, kw)."""

    workspace_limit: int | None = field(default=None, repr=False, kw_only=True)  # bytes a kernel may take

    element_bytes: ClassVar[int] = 4  # of the input and of the weights
    dtype: ClassVar[str] = "float32"  # of floats

    def out_extent(self, axis: int) -> int:
        size = (self.height, self.width)[axis] + self.padded(axis)
        return (size - self.span(axis)) // self.strides[axis] + 1

    @property
    def macs(self) -> int:
        taps = self.kernel[0] * self.kernel[1] * self.channels // self.groups
        return self.batch * self.pixels * self.filters * taps

    @property
    def result_bytes(self) -> int:
        """Of one element of the result."""
        return self.element_bytes

    def costed(self) -> Self:
        """What time and workspace depend on; a limit is applied to the costs."""
        if self.workspace_limit is None and self.reach is None:
            return self
        return replace(self, workspace_limit=None, extras=tuple(map(_costed, self.extras)))

    @cached_property
    def bare(self) -> Self:
        """Without what follows the sums."""
        if not (self.bias or self.epilogue):
            return self
        return replace(self, bias=False, epilogue=(), extras=())

    @property
    def reach(self) -> Reach | None:
        """Of the extra operand that some channels meet."""
        return next((kind for kind in self.extras if isinstance(kind, Reach)), None)

    def unbordered(self) -> Self:
        """For taps outside the image that are there, and hold what padding is."""
        return self

    def blocked_layouts(self, target: Target) -> tuple[str, str]:
        """The layouts of input and result that suit the target."""
        return block_name(target), block_name(target)

    @property
    def block(self) -> int:
        """Channel lanes of what is added to results."""
        return layout_block(self.out_layout)

    def few_channels_layout(self) -> str:
        """The layout of an input of few channels, a network's image."""
        return "NCHW"


@dataclass(frozen=True)
class HalfConvSpec(ConvSpec):
    """The same of binary16, for targets seen `in_half`."""

    element_bytes: ClassVar[int] = 2
    dtype: ClassVar[str] = "float16"


@dataclass(frozen=True)
class TransposedSpec(WindowSpec):
    """A 2-D transposed convolution (ONNX ConvTranspose); weights are (channels, filters / groups, kh, kw)."""

    output_padding: tuple[int, int] = (0, 0)

    dtype: ClassVar[str] = "float32"

    def out_extent(self, axis: int) -> int:
        steps = (self.height, self.width)[axis] - 1
        return self.strides[axis] * steps + self.span(axis) + self.output_padding[axis] - self.padded(axis)


@dataclass(frozen=True)
class DenseSpec:
    """y = x W (+ bias): x is (batch, inputs), W (inputs, outputs); row-major in and out."""

    batch: int
    inputs: int
    outputs: int
    bias: bool = False
    epilogue: Epilogue = ()
    extras: tuple[str, ...] = ()
    workspace_limit: int | None = field(default=None, repr=False, kw_only=True)  # bytes a kernel may take

    element_bytes: ClassVar[int] = 4
    dtype: ClassVar[str] = "float32"

    def __post_init__(self) -> None:
        check_epilogue(self.epilogue, self.extras)


@dataclass(frozen=True)
class HalfDenseSpec(DenseSpec):
    """The same of binary16, for targets seen `in_half`."""

    element_bytes: ClassVar[int] = 2
    dtype: ClassVar[str] = "float16"


def seconds(target: Target, macs: float, efficiency: float, streamed_bytes: float) -> float:
    """Analytic time: arithmetic at a share of the FMA peak, or memory traffic, whichever is longer."""
    peak = target.clock_ghz * 1e9 * target.fma_per_cycle * target.lanes
    return max(macs / (peak * efficiency), streamed_bytes / (target.far_gbps(streamed_bytes) * 1e9))


def block_name(target: Target) -> str:
    """The blocked layout of `target`: one vector of channels."""
    return f"NCHW{target.lanes}c"


def layout_block(layout: str) -> int:
    """Channel lanes of a layout name; 1 for NCHW."""
    return int(layout[4:-1]) if layout != "NCHW" else 1


def pair(values: Sequence[int], missing: int) -> tuple[int, int]:
    """Along height and width; of a row, `missing` along the height."""
    first, second = values if len(values) == 2 else (missing, values[0])
    return first, second
