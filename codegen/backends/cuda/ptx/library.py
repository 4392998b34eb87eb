"""What kernels call of the C library and GPUs do not have: sine, cosine and the remainder of float32.

They compute in float64, in which remainders are exact. Large angles are reduced by as many bits of 2 / pi as
they need (Payne and Hanek, "Radian Reduction for Trigonometric Functions", 1983).
"""

from __future__ import annotations

import math
import re
import struct
from typing import Final

_DECLARED = re.compile(r"^declare float @(sinf|cosf|fmodf)\(.*\n", flags=re.M)
_PREFIX: Final = "secateur_"

_TWO_OVER_PI: Final = 0xA2F9836E4E441529FC2757D1F534DDC0DB6295993C439041FE  # times 2^200
_PI_HALVES: Final = (math.pi / 2, 6.123233995736766e-17)
_SINE: Final = tuple((-1) ** k / math.factorial(2 * k + 1) for k in range(8))
_COSINE: Final = tuple((-1) ** k / math.factorial(2 * k) for k in range(8))


def with_library(llvm_ir: str) -> str:
    """The text with a definition of each of these functions that it calls."""
    called = {found[1] for found in _DECLARED.finditer(llvm_ir)}
    if not called:
        return llvm_ir
    text = _DECLARED.sub("", llvm_ir)
    for name in called:
        text = text.replace(f"@{name}(", f"@{_PREFIX}{name}(")
    waves = called & {"sinf", "cosf"}
    parts = [_KNOWN, *([_WAVE] if waves else []), *(_DEFINITIONS[name] for name in sorted(called))]
    return _once(text, "\n".join(parts))


def _once(text: str, more: str) -> str:
    """More text behind it, without what it declares already."""
    lines = (line for line in more.splitlines() if not line.startswith("declare ") or line not in text)
    return "\n".join([text, *lines, ""])


def _double(value: float) -> str:
    """As LLVM IR writes a constant exactly."""
    return f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}"


def _polynomial(name: str, coefficients: tuple[float, ...]) -> str:
    """Horner's rule in %square, lowest power first."""
    lines, total = [], _double(coefficients[-1])
    for step, c in enumerate(reversed(coefficients[:-1])):
        operands = f"double {total}, double %square, double {_double(c)}"
        total = f"%{name}{step}"
        lines.append(f"  {total} = call double @llvm.fma.f64({operands})")
    return "\n".join([*lines, f"  %{name} = fadd double {total}, {_double(-0.0)}"])


_KNOWN = "declare double @llvm.fma.f64(double, double, double)"

# The sine of x and `turn` quarters of a circle: what is left of x beside whole quarters, at most an eighth.
_WAVE = f"""\
declare double @llvm.rint.f64(double)
define internal float @{_PREFIX}wave(float %x, i64 %turn) alwaysinline nounwind {{
  %bits = bitcast float %x to i32
  %size = and i32 %bits, {0x7FFFFFFF}
  %far = icmp uge i32 %size, {0x4B000000}
  br i1 %far, label %large, label %small
small:
  %angle = fpext float %x to double
  %quarters = fmul double %angle, {_double(2 / math.pi)}
  %whole = call double @llvm.rint.f64(double %quarters)
  %less = fneg double %whole
  %rest = call double @llvm.fma.f64(double %less, double {_double(_PI_HALVES[0])}, double %angle)
  %near = call double @llvm.fma.f64(double %less, double {_double(_PI_HALVES[1])}, double %rest)
  %few = fptosi double %whole to i64
  br label %reduced
large:
  %exponent = lshr i32 %size, 23
  %places = sub i32 254, %exponent
  %shift = and i32 %places, 127
  %wide = zext i32 %shift to i256
  %window = lshr i256 {_TWO_OVER_PI}, %wide
  %factor = trunc i256 %window to i128
  %fraction = and i32 %size, {0x7FFFFF}
  %mantissa = or i32 %fraction, {0x800000}
  %integer = zext i32 %mantissa to i128
  %product = mul i128 %factor, %integer
  %mirrored = sub i128 0, %product
  %below = icmp slt i32 %bits, 0
  %turned = select i1 %below, i128 %mirrored, i128 %product
  %rounded = add i128 %turned, {1 << 95}
  %count = lshr i128 %rounded, 96
  %many = trunc i128 %count to i64
  %top = lshr i128 %turned, 32
  %left = trunc i128 %top to i64
  %part = sitofp i64 %left to double
  %beside = fmul double %part, {_double(math.ldexp(math.pi / 2, -64))}
  br label %reduced
reduced:
  %r = phi double [ %near, %small ], [ %beside, %large ]
  %k = phi i64 [ %few, %small ], [ %many, %large ]
  %square = fmul double %r, %r
{_polynomial("s", _SINE)}
{_polynomial("c", _COSINE)}
  %sine = fmul double %s, %r
  %quadrant = add i64 %k, %turn
  %first = and i64 %quadrant, 1
  %odd = icmp ne i64 %first, 0
  %value = select i1 %odd, double %c, double %sine
  %negative = fneg double %value
  %second = and i64 %quadrant, 2
  %down = icmp ne i64 %second, 0
  %found = select i1 %down, double %negative, double %value
  %result = fptrunc double %found to float
  %finite = icmp ult i32 %size, {0x7F800000}
  %number = select i1 %finite, float %result, float 0x7FF8000000000000
  ret float %number
}}"""

_DEFINITIONS: Final = {
    "sinf": f"""\
define internal float @{_PREFIX}sinf(float %x) alwaysinline nounwind {{
  %wave = call float @{_PREFIX}wave(float %x, i64 0)
  %bits = bitcast float %x to i32
  %doubled = shl i32 %bits, 1
  %zero = icmp eq i32 %doubled, 0
  %sine = select i1 %zero, float %x, float %wave
  ret float %sine
}}""",
    "cosf": f"""\
define internal float @{_PREFIX}cosf(float %x) alwaysinline nounwind {{
  %wave = call float @{_PREFIX}wave(float %x, i64 1)
  ret float %wave
}}""",
    # Of what is left 25 bits of the quotient at a time: such multiples of y are exact.
    "fmodf": f"""\
define internal float @{_PREFIX}fmodf(float %x, float %y) alwaysinline nounwind {{
  %bits = bitcast float %x to i32
  %other = bitcast float %y to i32
  %size = and i32 %bits, {0x7FFFFFFF}
  %divisor = and i32 %other, {0x7FFFFFFF}
  %endless = icmp uge i32 %size, {0x7F800000}
  %unknown = icmp ugt i32 %divisor, {0x7F800000}
  %nothing = icmp eq i32 %divisor, 0
  %either = or i1 %endless, %unknown
  %none = or i1 %either, %nothing
  %less = icmp ult i32 %size, %divisor
  %known = or i1 %none, %less
  %plain = select i1 %none, float 0x7FF8000000000000, float %x
  br i1 %known, label %done, label %begin
begin:
  %dividend = bitcast i32 %size to float
  %a = fpext float %dividend to double
  %by = bitcast i32 %divisor to float
  %b = fpext float %by to double
  %b_bits = bitcast double %b to i64
  %b_exponent = lshr i64 %b_bits, 52
  br label %next
next:
  %r = phi double [ %a, %begin ], [ %rest, %next ]
  %r_bits = bitcast double %r to i64
  %r_exponent = lshr i64 %r_bits, 52
  %apart = sub i64 %r_exponent, %b_exponent
  %above = sub i64 %apart, 24
  %positive = icmp sgt i64 %above, 0
  %power = select i1 %positive, i64 %above, i64 0
  %biased = add i64 %power, 1023
  %placed = shl i64 %biased, 52
  %scale = bitcast i64 %placed to double
  %multiple = fmul double %b, %scale
  %quotient = fdiv double %r, %multiple
  %whole = fptosi double %quotient to i64
  %times = sitofp i64 %whole to double
  %minus = fneg double %times
  %rest = call double @llvm.fma.f64(double %minus, double %multiple, double %r)
  %more = fcmp oge double %rest, %b
  br i1 %more, label %next, label %signed
signed:
  %short = fptrunc double %rest to float
  %left = bitcast float %short to i32
  %sign = and i32 %bits, {-0x80000000}
  %joined = or i32 %left, %sign
  %remainder = bitcast i32 %joined to float
  br label %done
done:
  %result = phi float [ %plain, %0 ], [ %remainder, %signed ]
  ret float %result
}}""",
}
