"""Convolutions whose last operand meets some channels alone, in every layout."""

from __future__ import annotations

import pytest

from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.targets.rows import TARGETS
from secateur.ir.elementwise import Step

from ...generic_harness import check, operator, rand, restart
from ...linear_harness import check_case, conv_case, native_targets

EPILOGUE = {"epilogue": (Step("add"), Step("add"), Step("relu"))}
SAME = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
REACHES = {
    "narrower": (40, (0, 0, 24), 24),
    "not whole vectors": (21, (0, 0, 11), 11),
    "wider": (21, (0, 0, 21), 45),
    "in between": (48, (16, 32, 13), 64),
}
every_reach = pytest.mark.parametrize("name", list(REACHES))


@pytest.mark.parametrize("primitive", ["direct", "winograd2"])
@every_reach
def test_floats(name: str, primitive: str) -> None:
    restart()
    filters, reach, width = REACHES[name]
    arrays = [rand(2, 8, 4, 5), rand(filters, 8, 3, 3), rand(1, filters, 1, 1), rand(2, width, 4, 5)]
    attributes = {**SAME, **EPILOGUE, "reach": reach}
    check("conv", arrays, attributes, constants=(1, 2), only=primitive, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("primitive", ["direct", "im2row"])
@every_reach
def test_bytes(name: str, primitive: str) -> None:
    filters, reach, width = REACHES[name]
    case = conv_case(
        1, (2, 8, 4, 5), filters, (3, 3), pads=(1, 1, 1, 1), residual=True, residual_zero=9,
        width=width, reach=reach, real=filters == 21,
    )  # fmt: skip
    check_case(case, native_targets()[0], only=primitive)


@pytest.mark.parametrize("reach", [(4, 0, 8), (0, 4, 8)])
def test_channels_that_lie_across_blocks_are_refused(reach: tuple[int, int, int]) -> None:
    arrays = [rand(1, 8, 5, 7), rand(16, 8, 3, 3), rand(1, 16, 1, 1), rand(1, 12, 5, 7)]
    op = operator("conv", arrays, {**SAME, **EPILOGUE, "reach": reach}, (1, 2))
    target = TARGETS["x86-64-v3"]
    assert all(p.applicable(op, target) is not None for p in PRIMITIVES.candidates(op))
