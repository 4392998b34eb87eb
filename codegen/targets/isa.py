"""Vector instruction sets, as the kernels see them: what each can do is data of its row.

Kernels and primitives ask these fields and compare no names, so that a new instruction set is a new row.
Intrinsics are LLVM's.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from enum import Enum


class DotKind(Enum):
    """How four unsigned bytes times four signed bytes are summed into a lane (`vector/dot.py`)."""

    QUADS = "quads"  # one instruction
    PAIRS = "pairs"  # even and odd bytes as int16, two instructions that multiply and add pairs
    WIDENING = "widening"  # byte by byte, int16 products into int32 lanes
    HALVES = "halves"  # signed bytes as int16 products, two of which are summed before they become int32
    SHORT_HALVES = "short halves"  # the same of registers of 64 bits; adding pairs adds to a sum at once
    LANES = "lanes"  # one instruction on signed bytes, which takes one quad of a vector
    MIXED_LANES = "mixed lanes"  # the same of unsigned bytes, its first operand, times signed ones
    SCALAR = "scalar"  # one instruction a lane


@dataclass(frozen=True)
class DotStep:
    """`rate` counts vector operations a cycle, where it is not that of float32 multiply-adds.

    `quads` of a pixel are loaded at once; `offset` is taken from the unsigned bytes, so that they are signed.
    `pairs` names what adds pairs of int16 in int32. Weights of -128 take the step `full`, where there is one.
    """

    kind: DotKind
    intrinsic: str = ""
    rate: float | None = None
    quads: int = 1
    offset: int = 0
    pairs: str = ""
    full: DotStep | None = None


@dataclass(frozen=True)
class Fractions:
    """Instructions on vectors of `lanes` int16 fractions.

    The rounding product is (a b + 2^14) >> 15. Packing makes bytes of two vectors with saturation, within
    parts of 128 bits; where it is empty, there is none. Without a product's name it is plain arithmetic.
    """

    lanes: int
    product: str
    pack: str = ""


@dataclass(frozen=True)
class ByteLookup:
    """Lookups of bytes in `part` of them: 16 repeated in every 128 bits, or 64 in four registers."""

    intrinsic: str
    part: int

    def __post_init__(self) -> None:
        if self.part not in (16, 64):
            raise ValueError(f"{self.intrinsic}: lookups in {self.part} bytes are unknown")


@dataclass(frozen=True)
class Narrowing:
    """Instructions that make bytes of `vectors` vectors of four sums together, all with saturation.

    `nearest` converts float32 to int32, half to even, `halves` int32 to int16, `bytes` int16 to unsigned
    bytes; `fixed` makes float32 of int32 with bits of a fraction. Where they are empty, there are none.
    """

    vectors: int
    nearest: str = ""
    halves: str = ""
    bytes: str = ""
    fixed: str = ""


@dataclass(frozen=True)
class Shifts:
    """Instructions that shift right by a number, round, halves up, and saturate.

    `words` makes int16 of four int32, `bytes` unsigned bytes of eight int16; `product` is that of `Fractions`
    on four words.
    """

    words: str
    product: str
    bytes: str


@dataclass(frozen=True)
class Tiles:
    """Registers of `rows` rows of `row_bytes` bytes, which instructions load, multiply and store whole.

    A product adds `rows` pixels' `row_bytes` unsigned bytes times as many signed ones of each of `columns`
    filters to int32 sums; the second operand has a quad of every filter in a row. It takes `cycles`, until
    its sums are there `latency`.
    """

    registers: int
    rows: int
    row_bytes: int
    columns: int
    cycles: float
    latency: float
    product: str
    prefix: str  # of the intrinsics that configure, load, clear, store and release

    def __post_init__(self) -> None:
        if self.columns * 4 != self.row_bytes:
            raise ValueError(f"{self.product}: rows of {self.row_bytes} bytes hold {self.columns} sums")


@dataclass(frozen=True)
class Isa:
    """A vector instruction set: from it every kernel derives its register tile.

    `fractions` stand narrowest first.
    `fused`: a multiply-add is one instruction; without it LLVM would call a library.
    `converts`: vectors of float32 become int32, half to even.
    `by_element`: a multiply-add takes one element of a vector for all lanes.
    `streams`: a load takes up to four vectors and moves its address on (`vector/streams.py`).
    `words`: how products of int16 are summed into int32 lanes; None where bytes are multiplied faster.
    `narrow`: unsigned times signed bytes, added in pairs to an int16 that saturates; "" for none.
    `loads`: an operation reads an operand from memory, and widens bytes on the way.
    `extremes`: larger or smaller elements of two vectors of floats are one instruction, which keeps a NaN.
    `fences`: loads must be kept in their step, else LLVM spills (`tir.fence`).
    `half`: arithmetic on vectors of binary16, twice as many lanes (see `in_half`).
    `element_bytes`: of the floats that kernels see as lanes.
    `narrowing`: vectors of sums are made bytes together.
    `matrix`: 2x8 unsigned times 8x2 signed bytes, added to four sums; "" for none.
    `tiles`: registers of matrices of bytes; `needs` tells rows that have them in what kernels are called.
    `shifts`: sums become words and bytes by shifts that round; None where they do not.
    `needs`: LLVM features that a row of this instruction set must name.
    """

    name: str  # of the registers
    vector_bytes: int
    vector_registers: int
    dot: DotStep
    fractions: tuple[Fractions, ...]
    lookup: ByteLookup | None = None
    words: DotStep | None = None
    narrow: str = ""
    fused: bool = True
    converts: bool = False
    by_element: bool = False
    streams: bool = False
    loads: bool = False
    extremes: bool = False
    fences: bool = False
    half: bool = False
    element_bytes: int = 4
    narrowing: Narrowing | None = None
    matrix: str = ""
    shifts: Shifts | None = None
    needs: tuple[str, ...] = ()
    tiles: Tiles | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.vector_bytes & (self.vector_bytes - 1) or self.vector_registers < 8:
            raise ValueError(f"{self.name}: vectors are a power of two bytes, registers at least 8")
        widths = [f.lanes for f in self.fractions]
        if not widths or widths[0] != 8 or widths != sorted(widths) or widths[-1] * 2 > self.vector_bytes:
            raise ValueError(
                f"{self.name}: fractions of {widths} lanes; they go from 8 to no more than a vector"
            )

    @property
    def adds_across(self) -> bool:
        """Whether sums of bytes may be of channels (`vector/across.py`): where they have no dot product."""
        return self.dot.kind is DotKind.HALVES and self.streams

    @property
    def lanes(self) -> int:
        """Float lanes of one vector; also the channel block of blocked layouts."""
        return self.vector_bytes // self.element_bytes

    @property
    def compared(self) -> frozenset[str]:
        """The types that `extremes` holds for: those with arithmetic."""
        known = ("float32", "float16") if self.half else ("float32",)
        return frozenset(known if self.extremes else ())

    @property
    def in_half(self) -> Isa:
        """The same registers as kernels in binary16 see them; ValueError where it cannot compute so."""
        if not self.half:
            raise ValueError(f"{self.name}: no arithmetic in binary16")
        return replace(self, element_bytes=2)


def _pairs(intrinsic: str, rate: float) -> DotStep:
    return DotStep(DotKind.PAIRS, intrinsic, rate)


def _widening(intrinsic: str) -> DotStep:
    """One a cycle on every core from the Cortex-A53 to the A78: only one pipeline multiplies so."""
    return DotStep(DotKind.WIDENING, intrinsic, 1.0)


def _halves(intrinsic: str, pairs: str, kind: DotKind = DotKind.HALVES) -> DotStep:
    """Of three instructions two multiply, one a cycle; another pipeline adds, where there is one."""
    return DotStep(kind, intrinsic, 1.5, quads=4, offset=128, pairs=pairs, full=_widening(intrinsic))


VNNI = DotStep(DotKind.QUADS, "llvm.x86.avx512.vpdpbusd.512")

_X86 = (
    Fractions(8, "llvm.x86.ssse3.pmul.hr.sw.128", "llvm.x86.sse2.packuswb.128"),
    Fractions(16, "llvm.x86.avx2.pmul.hr.sw", "llvm.x86.avx2.packuswb"),
    Fractions(32, "llvm.x86.avx512.pmul.hr.sw.512", "llvm.x86.avx512.packuswb.512"),
)

SSE = Isa(
    "sse", 16, 16, _pairs("llvm.x86.sse2.pmadd.wd", 3.0), _X86[:1],
    ByteLookup("llvm.x86.ssse3.pshuf.b.128", 16), fused=False, converts=True, loads=True, needs=("ssse3",),
    words=_pairs("llvm.x86.sse2.pmadd.wd", 3.0), narrow="llvm.x86.ssse3.pmadd.ub.sw.128",
)  # fmt: skip
AVX2 = Isa(
    "avx2", 32, 16, _pairs("llvm.x86.avx2.pmadd.wd", 3.4), _X86[:2],
    ByteLookup("llvm.x86.avx2.pshuf.b", 16), converts=True, loads=True, needs=("avx2", "fma"),
    words=_pairs("llvm.x86.avx2.pmadd.wd", 3.4), narrow="llvm.x86.avx2.pmadd.ub.sw",
)  # fmt: skip
AVX512 = Isa(
    "avx512", 64, 32, _pairs("llvm.x86.avx512.pmaddw.d.512", 2.0), _X86,
    ByteLookup("llvm.x86.avx512.pshuf.b.512", 16), converts=True, loads=True, needs=("avx512f", "avx512bw"),
    words=_pairs("llvm.x86.avx512.pmaddw.d.512", 2.0), narrow="llvm.x86.avx512.pmaddubs.w.512",
)  # fmt: skip
AVX512_VNNI = replace(AVX512, dot=VNNI, words=None, narrow="", needs=(*AVX512.needs, "avx512vnni"))
AMX = Tiles(8, 16, 64, 16, cycles=16.0, latency=52.0, product="llvm.x86.tdpbusd", prefix="llvm.x86.")
AVX512_AMX = replace(AVX512_VNNI, tiles=AMX, needs=(*AVX512_VNNI.needs, "amx-tile", "amx-int8"))
NEON64 = Isa(
    "neon64", 16, 32, _halves("llvm.aarch64.neon.smull", "llvm.aarch64.neon.saddlp"),
    (Fractions(8, "llvm.aarch64.neon.sqrdmulh.v8i16"),),
    ByteLookup("llvm.aarch64.neon.tbl4.v16i8", 64), by_element=True, streams=True, extremes=True, fences=True,
    words=replace(_widening("llvm.aarch64.neon.smull"), quads=2),
    narrowing=Narrowing(
        4, "llvm.aarch64.neon.fcvtns.v4i32.v4f32", "llvm.aarch64.neon.sqxtn.v4i16",
        "llvm.aarch64.neon.sqxtun.v8i8", "llvm.aarch64.neon.vcvtfxs2fp.v4f32.v4i32",
    ),
    shifts=Shifts(
        "llvm.aarch64.neon.sqrshrn.v4i16", "llvm.aarch64.neon.sqrdmulh.v4i16",
        "llvm.aarch64.neon.sqrshrun.v8i8",
    ),
)  # fmt: skip
NEON64_DOT = replace(
    NEON64, dot=DotStep(DotKind.LANES, "llvm.aarch64.neon.sdot", quads=4, offset=128), words=None,
    needs=("dotprod",),
)  # fmt: skip
NEON64_MIXED = replace(
    NEON64, dot=DotStep(DotKind.MIXED_LANES, "llvm.aarch64.neon.usdot", quads=4), words=None,
    matrix="llvm.aarch64.neon.usmmla.v4i32.v16i8", needs=("dotprod", "i8mm"),
)  # fmt: skip


def neon64(features: Collection[str]) -> Isa:
    """What AArch64 with these features can do."""
    isa = [isa for isa in (NEON64, NEON64_DOT, NEON64_MIXED) if set(isa.needs) <= set(features)][-1]
    return replace(isa, half=True, needs=(*isa.needs, "fullfp16")) if "fullfp16" in features else isa


NEON32 = Isa(
    "neon32", 16, 16, _halves("llvm.arm.neon.vmulls", "llvm.arm.neon.vpadals", DotKind.SHORT_HALVES),
    (Fractions(8, "llvm.arm.neon.vqrdmulh.v8i16"),), by_element=True, extremes=True, fences=True,
    narrowing=Narrowing(4, fixed="llvm.arm.neon.vcvtfxs2fp.v4f32.v4i32"),
    needs=("neon",),
    words=DotStep(DotKind.WIDENING, "llvm.arm.neon.vmulls", 0.5),  # LLVM copies every factor to all lanes
)  # fmt: skip

# A thread of a GPU: vectors are what one access to memory moves, and arithmetic is on scalars.
SIMT = Isa("simt", 16, 16, _widening(""), (Fractions(8, ""),))
SIMT_DOT = replace(SIMT, dot=DotStep(DotKind.SCALAR, "llvm.nvvm.idp4a.u.s", 0.25))
