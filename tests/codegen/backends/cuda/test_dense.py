"""Dense layers by blocks of threads: bytes to the bit, floats alike in every order of threads."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.codegen.backends.cuda.dense import primitive as dense
from secateur.codegen.backends.cuda.dense.kernel import DenseKey, kernels
from secateur.codegen.backends.cuda.dense.schedule import DenseTile, Product, candidates, fastest
from secateur.codegen.backends.cuda.primitives import PRIMITIVES
from secateur.codegen.primitives.chosen import chosen_as
from secateur.codegen.primitives.dense.int8 import LinearDenseSpec
from secateur.codegen.primitives.operator import Constant, Operand, Result, Scratch
from secateur.codegen.primitives.specs import DenseSpec, HalfDenseSpec
from secateur.codegen.targets.rows import GPUS
from secateur.codegen.targets.target import Target
from secateur.codegen.vector.requantize import Requantization
from secateur.ir import interpreter
from secateur.ir.elementwise import Step
from secateur.ir.graph import Operator
from secateur.ir.registry import create
from secateur.ir.types import DType

from ....sampled import sampled, sampled_rows
from ...generic_harness import operator, rand
from ...linear_harness import matmul_case
from ...primitives.conv.test_half import bound, constant, halves, value
from ...simt.emulator import Gpu, configure
from .harness import assert_same_in_every_order, choices, run
from .loads import loads
from .test_ptxas import ASSEMBLER, built

ORIN, XAVIER, NANO = (GPUS[f"jetson-{name}"] for name in ("orin", "xavier", "nano"))
TILES = {
    "a warp": DenseTile(4, 32),
    "half a warp": DenseTile(2, 16, 2),
    "a block": DenseTile(1, 128, 4),
    "few threads": DenseTile(8, 8),
    "parts": DenseTile(2, 32, 1, 3),
}


def fixed(patch: pytest.MonkeyPatch, tile: DenseTile) -> None:
    patch.setattr(dense, "fastest", lambda *_: tile)


def check(case: tuple[Operator, list[Any]], target: Target) -> None:
    op, arrays = case
    wanted = interpreter.evaluate(op, arrays)[0]
    for choice in choices(op, target, "dense_blocks"):
        np.testing.assert_array_equal(run(op, arrays, target, choice), wanted)


BYTES: list[dict[str, Any]] = [
    {"batch": 1, "inputs": 1600, "outputs": 37, "zero": 255, "result_zero": 13},
    {"batch": 3, "inputs": 1556, "outputs": 5, "limits": (0, 200)},
    {"batch": 2, "inputs": 1537, "outputs": 70, "zero": 9, "real": True},
]


ROWS = [(name, seed) for name in TILES for seed in range(len(BYTES))]
EACH_ONCE = [(name, number % len(BYTES)) for number, name in enumerate(TILES)]


@pytest.mark.parametrize(("name", "seed"), sampled_rows(ROWS, lambda *row: row in EACH_ONCE))
def test_bytes_to_the_bit(name: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of whole accesses, of words, and of bytes alone."""
    fixed(monkeypatch, TILES[name])
    check(matmul_case(seed, **BYTES[seed]), NANO if name == "few threads" else ORIN)


@pytest.mark.parametrize("name", ["a warp", "parts"])
def test_extremes_do_not_saturate(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, TILES[name])
    op, (x, w, bias) = matmul_case(1, 1, 2048, 9, real=True)
    check((op, [np.full_like(x, 255), w, bias]), XAVIER)


def floats(shape: tuple[int, int, int], half: bool = False, full: bool = True) -> tuple[Operator, list[Any]]:
    """A bias, a factor for each output, a residual or not, and a ReLU."""
    batch, inputs, outputs = shape
    steps = (Step("add"), Step("mul"), *([Step("add")] if full else []), Step("relu"))
    if not half:
        arrays = [rand(batch, inputs), rand(inputs, outputs), rand(outputs), rand(outputs)]
        arrays += [rand(batch, outputs)] if full else []
        return operator("matmul", arrays, {"epilogue": steps}, [1, 2, 3]), arrays
    rng = np.random.default_rng(inputs)
    x, w = halves(rng, (batch, inputs)), halves(rng, (inputs, outputs), inputs**-0.5)
    bias = halves(rng, (outputs,))
    attributes = {"epilogue": (Step("add"), Step("relu")), "sums": DType.F16}
    return create("nn.matmul", [value(x, "x"), constant(w), constant(bias)], attributes), [x, w, bias]


def layer(precision: str, inputs: int, outputs: int) -> tuple[Operator, list[Any]]:
    """Of one image."""
    if precision == "int8":
        return matmul_case(0, 1, inputs, outputs)
    return floats((1, inputs, outputs), half=precision == "fp16")


SHAPES = [(1, 512, 20), (3, 770, 33), (2, 77, 9)]
FLOATS = list(product(TILES, SHAPES))


def _each_once(name: str, shape: tuple[int, int, int]) -> bool:
    return SHAPES.index(shape) == list(TILES).index(name) % len(SHAPES)


@pytest.mark.parametrize(("name", "shape"), sampled_rows(FLOATS, _each_once))
def test_floats(name: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, TILES[name])
    op, arrays = floats(shape)
    wanted = interpreter.evaluate(op, arrays)[0]
    (choice,) = choices(op, XAVIER, "dense_blocks")
    np.testing.assert_allclose(run(op, arrays, XAVIER, choice), wanted, 1e-4, 1e-3)


@pytest.mark.parametrize(("name", "shape"), sampled_rows(FLOATS, _each_once))
def test_pairs_of_binary16(name: str, shape: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of four products is in binary16, as is stated of sums; the rest is in float32."""
    fixed(monkeypatch, TILES[name])
    op, arrays = floats(shape, half=True)
    wanted = interpreter.evaluate(op, arrays)[0]
    (choice,) = choices(op, NANO, "half_dense_blocks")
    off = np.abs(run(op, arrays, NANO, choice).astype(np.float64) - wanted)
    assert (off <= bound(op, arrays)).all()


@pytest.mark.parametrize("name", ["a warp", "a block", "parts"])
def test_every_order_of_threads_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fixed(monkeypatch, TILES[name])
    op, arrays = floats((2, 640, 11))
    (choice,) = choices(op, ORIN, "dense_blocks")
    assert_same_in_every_order(op, arrays, ORIN, choice)


@pytest.mark.parametrize("name", ["int8", "fp32", "fp16"])
def test_weights_are_loaded_side_by_side(name: str) -> None:
    """No sector of memory holds a byte that nobody asked for, and an access has 16 bytes for each thread."""
    made = {
        "int8": matmul_case(0, 1, 2048, 16),
        "fp32": floats((1, 512, 16)),
        "fp16": floats((1, 1024, 16), True),
    }
    op, arrays = made[name]
    found = {}
    for choice in choices(op, ORIN):
        chosen = chosen_as(op, choice)
        (stage,) = PRIMITIVES.find(chosen).stages(chosen, ORIN)
        buffers = [_array(given, arrays) for given in stage.arguments]
        number = max(range(len(buffers) - 1), key=lambda i: buffers[i].nbytes)
        found[choice.primitive.removeprefix("half_")] = loads(stage.kernel, buffers, number, ORIN)
    blocks, threads = found["dense_blocks"], found["dense"]
    assert blocks.sectors == blocks.wanted == arrays[1].nbytes == blocks.accesses * 512
    assert threads.sectors >= 2 * threads.wanted
    assert threads.accesses >= 8 * blocks.accesses


def _array(given: Operand | Constant | Result | Scratch, arrays: list[Any]) -> Any:
    if isinstance(given, Constant):
        return given.array
    return arrays[given.index] if isinstance(given, Operand) else np.zeros(1 << 10, np.uint8)


@pytest.mark.parametrize("target", [NANO, ORIN], ids=lambda t: t.name)
@pytest.mark.parametrize("name", ["int8", "fp32", "fp16"])
def test_the_model_prefers_blocks(name: str, target: Target) -> None:
    made = {
        "int8": matmul_case(0, 1, 4096, 1000),
        "fp32": floats((1, 4096, 1000)),
        "fp16": floats((1, 4096, 1000), True),
    }
    best = min(choices(made[name][0], target), key=lambda choice: choice.seconds)
    assert best.primitive.endswith("dense_blocks")


LONG = Product(1, 1 << 18, 4, 4)


def test_long_sums_of_few_outputs_are_parted_where_there_is_room() -> None:
    tile = fastest(LONG, ORIN)
    assert tile.splits > 1
    short = replace(LONG, spare_bytes=LONG.partial_bytes(tile.splits) - 1)
    assert 1 <= fastest(short, ORIN).splits < tile.splits
    assert fastest(replace(LONG, spare_bytes=0), ORIN).splits == 1


def test_parted_and_whole_sums_are_both_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    def parted(product: Product, _: Target) -> DenseTile:
        return DenseTile(2, 32, 1, 1 if product.spare_bytes == 0 else 3)

    monkeypatch.setattr(dense, "fastest", parted)
    op, arrays = floats((2, 640, 11))
    wanted = interpreter.evaluate(op, arrays)[0]
    found = choices(op, ORIN, "dense_blocks")
    assert [choice.workspace for choice in found] == [4 * 3 * 2 * 11, 0]
    for choice in found:
        np.testing.assert_allclose(run(op, arrays, ORIN, choice), wanted, 1e-4, 1e-3)


ASSEMBLED = ("jetson-nano", "cuda-sm_61", "jetson-xavier", "jetson-orin", "cuda-sm_90")


@pytest.mark.skipif(ASSEMBLER is None, reason="needs ptxas: pip install -e '.[cuda]'")
@pytest.mark.parametrize("name", sampled(ASSEMBLED, ["jetson-orin"]))
def test_nothing_is_spilled(name: str, tmp_path: Path) -> None:
    """The fastest schedules of one image and of eight, by whole accesses and not."""
    target = GPUS[name]
    layers = {1: LinearDenseSpec, 2: HalfDenseSpec, 4: DenseSpec}
    for (size, kind), batch in product(layers.items(), (1, 8)):
        if size == 2 and not target.cuda.architecture.half2:
            continue
        shape = (batch, 4096 - batch // 8, 1000)
        spec = kind(*shape, Requantization()) if size == 1 else kind(*shape, bias=True)
        wanted = Product(*shape, size)
        tile = fastest(wanted, target)
        for kernel in kernels("dense", DenseKey(spec, wanted, tile, target.cuda.architecture.dot)):
            report, _ = built(kernel, target, tmp_path)
            assert report.spilled == 0
            assert report.registers <= tile.registers(wanted, target)
            assert report.shared == kernel.workspace


@pytest.mark.slow
@pytest.mark.parametrize("seed", sampled(range(8), [1, 2]))
def test_random_shapes(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    choose = np.random.default_rng(seed)
    configure(Gpu(order=seed))
    batch, inputs, outputs, zero = (int(choose.integers(1, most)) for most in (10, 1500, 80, 256))
    target = (ORIN, XAVIER, NANO)[seed % 3]
    every = list(candidates(Product(batch, inputs, outputs, 1), target))
    fixed(monkeypatch, every[int(choose.integers(len(every)))])
    check(matmul_case(seed, batch, inputs, outputs, zero=zero, result_zero=3), target)
    configure()


@pytest.mark.parametrize("wrong", [(1, 24), (1, 2), (0, 32), (8, 32, 8)])
def test_schedules_check_themselves(wrong: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"no whole groups|1 to 32 sums"):
        DenseTile(*wrong)
