"""Convolutions of GPUs in binary16: within what `docs/ir.md` states, two multiplications an instruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.block import WORDS
from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.backends.cuda.ptx.modules import build_module, ptx_head
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.ir import interpreter
from secateur.ir.graph import Operator

from ...primitives.conv.test_half import SAME, Array, bound, chain, conv, one
from .harness import choices, run
from .test_ptxas import ASSEMBLER, assembled, kernels

NANO, TX2, ORIN = GPUS["jetson-nano"], GPUS["jetson-tx2"], GPUS["jetson-orin"]
SHAPES = [
    ((1, 16, 6, 5), (16, 16, 3, 3), (1, 1), SAME, False),
    ((2, 35, 7, 9), (20, 35, 3, 3), (2, 1), (1, 0, 2, 1), True),
    ((1, 64, 5, 5), (96, 64, 1, 1), (1, 1), (0, 0, 0, 0), True),
    ((1, 3, 12, 12), (64, 3, 7, 7), (2, 2), (3, 3, 3, 3), False),
]


def check(op: Operator, arrays: list[Array], primitive: str, atol: Array | float) -> None:
    wanted = interpreter.evaluate(op, arrays)[0]
    found = choices(op, NANO, primitive)
    assert found, f"{primitive} is not offered"
    for choice in found:
        off = np.abs(run(op, arrays, NANO, choice).astype(np.float64) - wanted)
        assert (off <= atol + 2.0**-14).all(), (off / (atol + 2.0**-14)).max()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s[1])))
def test_convolutions(shape: tuple[tuple[int, ...], ...]) -> None:
    image, weights, strides, pads, residual = shape
    op, arrays = conv(image, weights, strides, pads, residual=bool(residual))  # type: ignore[arg-type]
    check(op, arrays, "half_implicit_gemm", bound(op, arrays))


def test_depthwise_and_what_stands_between() -> None:
    op, arrays = conv((1, 20, 9, 11), (20, 1, 3, 3), pads=SAME, groups=20)
    check(op, arrays, "half_depthwise", bound(op, arrays))
    pool = {"kernel": (3, 3), "strides": (2, 2), "pads": SAME, "dilations": (1, 1)}
    check(*one("nn.max_pool", (1, 20, 9, 11), **pool), "pool_blocked", 0.0)
    check(*chain((1, 20, 9, 11), "add", "relu"), "elementwise", 0.0)


@pytest.mark.parametrize("target", [NANO, TX2, ORIN], ids=lambda t: t.name)
def test_an_instruction_multiplies_two(target: Target) -> None:
    op, _ = conv((1, 32, 8, 8), (32, 32, 3, 3), pads=SAME)
    (kernel,) = kernels(op, target, "half_implicit_gemm")
    spec: Any = kernel.spec
    text = build_module(kernel, "k", target).code.decode()
    assert text.count("fma.rn.f16x2") == spec.tile.sums * spec.tile.blocks * WORDS
    assert "fma.rn.f16 " not in text


def test_a_gpu_that_is_slow_in_binary16_is_refused() -> None:
    op, _ = conv((1, 32, 8, 8), (32, 32, 3, 3), pads=SAME)
    gemm = next(p for p in PRIMITIVES.candidates(op) if p.name == "half_implicit_gemm")
    assert gemm.applicable(op, GPUS["cuda-sm_61"]) == "no fast arithmetic in binary16"


@pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")
@pytest.mark.parametrize("name", ["jetson-nano", "jetson-tx2", "jetson-xavier", "jetson-orin"])
def test_products_spill_nothing(name: str, tmp_path: Path) -> None:
    """What the assembler says, and that hardly more is multiplied than must be."""
    target, (op, _) = GPUS[name], conv((1, 64, 56, 56), (64, 64, 3, 3), pads=SAME)
    (kernel,) = kernels(op, target, "half_implicit_gemm")
    spec: Any = kernel.spec
    text, tile = build_module(kernel, "kernel", target).code.decode(), spec.tile
    report = assembled(ptx_head(target.cuda.architecture) + text, target, tmp_path)
    assert report.spilled == 0
    assert report.shared == tile.shared_bytes
    products = text.count("fma.rn.f16x2") * spec.steps * kernel.tasks * kernel.threads
    assert op.macs / 2 <= products <= 1.1 * op.macs / 2
