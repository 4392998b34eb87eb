"""Sine, cosine and remainders of GPUs: compiled for this processor, of any float32; and in a network."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest
from numpy.typing import NDArray

import secateur
from secateur.codegen.backends.cuda.ptx.library import with_library
from secateur.ir import interpreter
from tests.passes.texts import body, build

from .networks import compiled

Floats = NDArray[np.float32]
ENDS = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, np.pi / 2, 3.4e38, -3.4e38, 2**23, 2**23 - 0.5]
CALLS = {"sinf": "float %u", "cosf": "float %u", "fmodf": "float %u, float %v"}
LOOP = """
define void @each_{name}(ptr %a, ptr %b, ptr %results, i64 %count) {{
  br label %loop
loop:
  %i = phi i64 [ 0, %0 ], [ %next, %loop ]
  %p = getelementptr float, ptr %a, i64 %i
  %q = getelementptr float, ptr %b, i64 %i
  %u = load float, ptr %p
  %v = load float, ptr %q
  %w = call float @{name}({operands})
  %r = getelementptr float, ptr %results, i64 %i
  store float %w, ptr %r
  %next = add i64 %i, 1
  %more = icmp slt i64 %next, %count
  br i1 %more, label %loop, label %end
end:
  ret void
}}
"""


@cache
def engine() -> llvm.ExecutionEngine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    declared = "declare float @sinf(float)\ndeclare float @cosf(float)\ndeclare float @fmodf(float, float)\n"
    loops = (LOOP.format(name=name, operands=operands) for name, operands in CALLS.items())
    machine = llvm.Target.from_default_triple().create_target_machine(opt=1, jit=True)
    made = llvm.create_mcjit_compiler(llvm.parse_assembly(with_library(declared + "".join(loops))), machine)
    made.finalize_object()
    return made


def each(name: str, x: Floats, y: Floats) -> Floats:
    """The function of all elements."""
    results = np.empty_like(x)
    run = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)(
        engine().get_function_address(f"each_{name}")
    )
    run(x.ctypes.data, y.ctypes.data, results.ctypes.data, x.size)
    return results


def floats(seed: int) -> Floats:
    """Of all sizes, of those of angles, and the ends."""
    fill = np.random.default_rng(seed)
    every = fill.integers(0, 1 << 32, 100_000, np.uint32).view(np.float32)
    return np.concatenate([every, fill.normal(0, 9, 100_000).astype(np.float32), np.array(ENDS, np.float32)])


@pytest.mark.parametrize(("name", "function"), [("sinf", np.sin), ("cosf", np.cos)])
def test_waves_are_right_to_the_last_place(name: str, function: np.ufunc) -> None:
    x = floats(0)
    with np.errstate(invalid="ignore"):
        wanted = function(x.astype(np.float64))
    found = each(name, x, x)
    finite = np.isfinite(x)
    np.testing.assert_array_equal(np.isnan(found), ~finite)
    places = np.abs(found - wanted) / np.spacing(np.abs(wanted).astype(np.float32))
    assert places[finite].max() < 0.51
    np.testing.assert_array_equal(np.signbit(found)[finite], np.signbit(wanted)[finite])


def test_remainders_are_exact() -> None:
    x = floats(0)
    y = np.concatenate([floats(1)[: -len(ENDS)], np.array([*ENDS[1:], 1], np.float32)])
    with np.errstate(invalid="ignore"):
        wanted = np.fmod(x, y)
    found = each("fmodf", x, y)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(found), ~known)
    np.testing.assert_array_equal(found.view(np.uint32)[known], wanted.view(np.uint32)[known])


TEXT = """\
%s = nn.sin(%x) : tensor<1x3x4x4xf32>
%c = nn.cos(%s) : tensor<1x3x4x4xf32>
%m = nn.mod(%x, %c) : tensor<1x3x4x4xf32>
%y = nn.fmod(%x, %z) : tensor<1x3x4x4xf32>
return %m as "m", %y as "y"
"""


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("target", ["cuda-sm_61", "cuda-sm_80"])
def test_a_network_has_them(target: str, tmp_path: Path) -> None:
    graph = build(body("tensor<1x3x4x4xf32>", TEXT))
    fill = np.random.default_rng(0)
    given = {name: fill.normal(0, 1000, (1, 3, 4, 4)).astype(np.float32) for name in ("x", "z")}
    wanted = interpreter.run(graph, given)
    with secateur.load(compiled(graph, tmp_path, target=target).path) as session:
        found = session.run(given)
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, 1e-4, 1e-6)
