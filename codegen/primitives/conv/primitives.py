"""Every primitive of convolutions that is made for them, and of dense layers of floats."""

from __future__ import annotations

from ..dense.float32 import DENSE
from ..operator import Primitive
from .depthwise import columns, quads
from .depthwise.lanes import DEPTHWISE
from .direct import DIRECT
from .grouped import GROUPED
from .half import HalfConvolution, HalfDense, InHalf
from .im2row.primitive import IM2ROW
from .kn2row.blocked import BLOCKED_KN2ROW
from .kn2row.row_major import KN2ROW
from .linear_operators import LinearConvolution, PaddingConvolution, PlainConvolution
from .operators import Convolution, Dense, TransposedConvolution
from .pointwise import POINTWISE
from .tiles.primitive import TILES
from .transposed import TRANSPOSED
from .winograd import int8 as linear_winograd
from .winograd.exact import EXACT, EXACT_IMAGE, EXACT_STEM, ExactConvolution
from .winograd.float32 import HALVES, LARGE, OBLONG, ODD, STRIDED, WINOGRAD

_FLOATS = (
    *map(Convolution, (DIRECT, POINTWISE, DEPTHWISE)),
    Convolution(GROUPED, spreads=True),
    Convolution(IM2ROW),
    Convolution(KN2ROW, ending=True),
    *(Convolution(primitive, spreads=True) for primitive in (*WINOGRAD, ODD, LARGE, OBLONG, *STRIDED)),
    TransposedConvolution(TRANSPOSED),
    Dense(DENSE),
)
_BYTES = (
    *map(LinearConvolution, (DIRECT, POINTWISE, GROUPED)),
    PlainConvolution(DEPTHWISE),
    *quads.PRIMITIVES,
    *columns.PRIMITIVES,
    PaddingConvolution(IM2ROW),
    PaddingConvolution(TILES),
    LinearConvolution(BLOCKED_KN2ROW),
    *linear_winograd.PRIMITIVES,
    *map(ExactConvolution, (*EXACT, EXACT_IMAGE, EXACT_STEM)),
)
_HALVES = (
    *map(HalfConvolution, (DIRECT, POINTWISE, DEPTHWISE)),
    HalfConvolution(GROUPED, spreads=True),
    HalfConvolution(IM2ROW),
    *(HalfConvolution(primitive, spreads=True) for primitive in HALVES),
    HalfDense(DENSE),
)
PRIMITIVES: tuple[Primitive, ...] = (*_FLOATS, *map(InHalf, _HALVES), *_BYTES)
