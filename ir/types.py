"""Types of values: element type, layout and quantization are part of a tensor's type.

Types are frozen, compare by value and verify themselves on construction.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import ml_dtypes  # noqa: F401  (registers bfloat16 with NumPy)
import numpy as np


def format_float(value: float) -> str:
    """Shortest text that reads back to the same float64; `inf`, `-inf` and `nan` by name."""
    return repr(float(value)) if math.isfinite(value) else str(float(value))


def extents(shape: Iterable[int]) -> str:
    """A shape in messages: `1x16x32x31`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


MAX_RANK = 16
MAX_EXTENT = 1 << 32
MAX_TENSOR_BYTES = 1 << 32
"""No tensor may be larger, so that a few bytes of text cannot ask for terabytes."""


_NUMPY = {
    "f32": "float32", "f16": "float16", "f64": "float64",
    "i8": "int8", "u8": "uint8", "i16": "int16", "u16": "uint16",
    "i32": "int32", "u32": "uint32", "i64": "int64", "u64": "uint64", "bool": "bool",
}  # fmt: skip


class DType(Enum):
    """An element type; the value is its name in the text form."""

    F32 = "f32"
    F16 = "f16"
    F64 = "f64"
    I8 = "i8"
    U8 = "u8"
    I16 = "i16"
    U16 = "u16"
    I32 = "i32"
    U32 = "u32"
    I64 = "i64"
    U64 = "u64"
    BOOL = "bool"

    numpy: np.dtype[np.generic]
    bytes: int
    is_float: bool

    def __init__(self, name: str) -> None:  # once, as types are made by the ten thousand
        self.numpy = np.dtype(_NUMPY[name])
        self.bytes = self.numpy.itemsize
        self.is_float = name[0] == "f"

    def __str__(self) -> str:
        return str(self.value)

    @staticmethod
    def of(dtype: np.dtype[np.generic]) -> DType:
        """The DType of a NumPy dtype; ValueError where there is none."""
        found = _BY_NUMPY.get(dtype)
        if found is None:
            raise ValueError(f"element type {dtype} is not supported")
        return found


_BY_NUMPY = {member.numpy: member for member in DType}


@dataclass(frozen=True)
class Layout:
    """How a tensor's elements lie in memory.

    `NCHW` is row-major in the logical order of axes, at any rank. `NHWC` moves
    axis 1 last. `NCHW{c}` splits axis 1 into blocks of `c` lanes, innermost;
    lanes past the last channel hold zeros. The logical shape never changes.
    """

    name: str = "NCHW"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"NCHW|NHWC|NCHW([1-9]\d*)c", self.name):
            raise ValueError(f"unknown layout '{self.name}'; known: NCHW, NHWC, NCHW<block>c")

    def __str__(self) -> str:
        return self.name

    @cached_property
    def block(self) -> int:
        """Channel lanes of a blocked layout, else 0."""
        found = re.fullmatch(r"NCHW(\d+)c", self.name)
        return int(found[1]) if found else 0

    def physical_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape in memory of a tensor of logical `shape`."""
        if self.name == "NCHW":
            return shape
        n, c, *spatial = shape
        if self.name == "NHWC":
            return (n, *spatial, c)
        return (n, -(-c // self.block), *spatial, self.block)


ROW_MAJOR = Layout("NCHW")


def blocked(lanes: int) -> Layout:
    """The layout NCHW{lanes}c."""
    return Layout(f"NCHW{lanes}c")


@dataclass(frozen=True)
class Quant:
    """Affine quantization: real = scale * (stored - zero_point).

    One scale and zero point for the whole tensor, or one for each index of `axis`.
    """

    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int | None = None

    def __post_init__(self) -> None:
        if len(self.scales) != len(self.zero_points) or not self.scales:
            raise ValueError("as many zero points as scales are needed, at least one")
        if self.axis is None and len(self.scales) != 1:
            raise ValueError("several scales need an axis")
        with np.errstate(over="ignore"):
            scales = np.array(self.scales, np.float32)
        if not (np.isfinite(scales) & (scales > 0)).all():
            raise ValueError("scales must be finite and positive in float32")

    def __str__(self) -> str:
        """`quant<0.5:0>`, `quant<axis=0, [0.5:0, 0.25:0]>`: as the text form writes it."""
        pairs = [f"{format_float(s)}:{z}" for s, z in zip(self.scales, self.zero_points, strict=True)]
        return f"quant<{pairs[0]}>" if self.axis is None else f"quant<axis={self.axis}, [{', '.join(pairs)}]>"


@dataclass(frozen=True)
class TensorType:
    """Logical shape, element type, layout and quantization of a value."""

    shape: tuple[int, ...]
    dtype: DType = DType.F32
    layout: Layout = ROW_MAJOR
    quant: Quant | None = None

    def __post_init__(self) -> None:
        for extent in self.shape:
            if not isinstance(extent, int) or not 0 <= extent <= MAX_EXTENT:
                wrong = f"is not an integer from 0 to {MAX_EXTENT}"
                raise ValueError(f"shape {extents(self.shape)} has a dimension that {wrong}")
        if len(self.shape) > MAX_RANK:
            raise ValueError(f"{len(self.shape)} dimensions, the limit is {MAX_RANK}")
        if len(self.shape) < 3 and self.layout != ROW_MAJOR:
            raise ValueError(
                f"layout {self.layout.name} needs at least 3 dimensions, shape is {extents(self.shape)}"
            )
        if self.bytes > MAX_TENSOR_BYTES:
            raise ValueError(f"{self} takes {self.bytes} bytes, the limit is {MAX_TENSOR_BYTES}")
        if self.quant is not None:
            self._verify_quant(self.quant)

    def __str__(self) -> str:
        """`tensor<1x8x4x4xf32, NCHW8c, quant<0.5:0>>`: row-major layout and no quantization are silent."""
        layout = [] if self.layout == ROW_MAJOR else [self.layout.name]
        quant = [] if self.quant is None else [str(self.quant)]
        return f"tensor<{', '.join(['x'.join([*map(str, self.shape), self.dtype.value]), *layout, *quant])}>"

    def _verify_quant(self, quant: Quant) -> None:
        if self.dtype not in (DType.I8, DType.U8, DType.I16, DType.U16, DType.I32):
            raise ValueError(f"{self.dtype.value} cannot carry a quantization")
        limits = np.iinfo(_NUMPY[self.dtype.value])
        if not all(limits.min <= z <= limits.max for z in quant.zero_points):
            raise ValueError(f"a zero point does not fit {self.dtype.value}")
        if quant.axis is None:
            return
        if not 0 <= quant.axis < len(self.shape) or self.shape[quant.axis] != len(quant.scales):
            raise ValueError(
                f"{len(quant.scales)} scales along axis {quant.axis} do not fit shape {extents(self.shape)}"
            )

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def elements(self) -> int:
        """Number of logical elements."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in memory, padding lanes included."""
        return math.prod(self.layout.physical_shape(self.shape)) * self.dtype.bytes

    def fits(self, inferred: TensorType) -> bool:
        """Whether a result that a rule gives the type `inferred` may have this type.

        A rule says nothing of layouts; of a quantization only where the operator chooses it.
        """
        same = (self.shape, self.dtype) == (inferred.shape, inferred.dtype)
        return same and inferred.quant in (None, self.quant)

    def with_layout(self, layout: Layout) -> TensorType:
        return TensorType(self.shape, self.dtype, layout, self.quant)
