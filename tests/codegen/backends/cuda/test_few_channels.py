"""First layers of GPUs, of images of few channels in bytes: the interpreter's bits, four taps a step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.costs import GpuCosts
from secateur.codegen.backends.cuda.few_channels import FewChannels
from secateur.codegen.backends.cuda.matrix_tile import MatrixTile, WmmaTile
from secateur.codegen.targets.rows import GPUS
from secateur.ir import interpreter

from ....sampled import sampled
from ...linear_harness import conv_case
from ...simt.emulator import Gpu, configure, stand_in
from .harness import choices, run

ORIN, XAVIER, NANO = GPUS["jetson-orin"], GPUS["jetson-xavier"], GPUS["jetson-nano"]
PASCAL = GPUS["cuda-sm_61"]
CASES: list[dict[str, Any]] = [
    {"shape": (2, 3, 13, 11), "filters": 32, "kernel": (7, 7), "pads": (3, 2, 3, 4), "strides": (2, 2),
     "zero": 255, "result_zero": 13},
    {"shape": (1, 4, 6, 9), "filters": 20, "kernel": (3, 3), "pads": (0, 0, 0, 0), "limits": (0, 200)},
    {"shape": (1, 1, 9, 12), "filters": 7, "kernel": (5, 2), "pads": (2, 3, 2, 3), "dilations": (2, 3),
     "real": True, "zero": 128},
]  # fmt: skip


def check(case: Any, target: Any = XAVIER) -> None:
    op, arrays = case
    wanted = interpreter.evaluate(op, arrays)[0]
    (choice,) = choices(op, target, "few_channels")
    np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


@pytest.mark.parametrize("seed", range(len(CASES)))
def test_bytes_to_the_bit(seed: int) -> None:
    check(conv_case(seed, **CASES[seed]), NANO if seed == 2 else XAVIER)


@pytest.mark.parametrize(("kind", "target"), [(MatrixTile, ORIN), (WmmaTile, XAVIER)])
def test_by_matrix_instructions(kind: Any, target: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FewChannels, "tile", lambda *_: kind(16, 32, 16, 32, 1))
    check(conv_case(0, **CASES[0]), target)


def test_extremes_do_not_saturate() -> None:
    w, x = np.full((16, 3, 7, 7), -128, np.int8), np.full((1, 3, 8, 8), 255, np.uint8)
    check(conv_case(1, (1, 3, 8, 8), 16, (7, 7), w=w, x=x))


def test_resnets_first_layer_multiplies_two_sevenths_of_whole_blocks() -> None:
    """8 of 7 taps and 4 of 3 channels, not 16 channels; by `dp4a`."""
    op, arrays = conv_case(1, (1, 3, 14, 14), 64, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3))
    counted = []
    for name in ("few_channels", "implicit_gemm"):
        choice = choices(op, PASCAL, name)[0]
        before = stand_in().simt_products()
        run(op, arrays, PASCAL, choice)
        counted.append(stand_in().simt_products() - before)
    assert counted[0] * 7 == counted[1] * 2


def test_the_model_prefers_it() -> None:
    op, _ = conv_case(1, (1, 3, 224, 224), 64, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3))
    for target in (XAVIER, ORIN):
        assert min(GpuCosts(target).choices(op), key=lambda c: c.seconds).primitive == "few_channels"


def test_more_channels_are_refused() -> None:
    op, _ = conv_case(1, (1, 5, 9, 9), 16, (3, 3))
    assert not choices(op, XAVIER, "few_channels")


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(4), [1, 2]))
def test_random_layers_in_every_order_of_threads(seed: int) -> None:
    choose = np.random.default_rng(seed)

    def several(low: int, high: int, count: int) -> tuple[int, ...]:
        return tuple(map(int, choose.integers(low, high, count)))

    shape, window = (*several(1, 3, 1), *several(1, 5, 1), *several(7, 15, 2)), several(1, 6, 2)
    options: dict[str, Any] = {
        "pads": several(0, 3, 4),
        "strides": several(1, 3, 2),
        "residual": bool(seed % 2),
    }
    for order in (0, 1, seed + 2):
        configure(Gpu(order=order))
        filters, zero = several(1, 40, 1)[0], several(0, 256, 1)[0]
        check(conv_case(seed, shape, filters, window, zero=zero, **options))
    configure()
