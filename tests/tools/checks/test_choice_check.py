"""What estimates choose, held against what a simulated core takes."""

from __future__ import annotations

import shutil
from dataclasses import replace

import numpy as np
import pytest

from secateur.codegen.targets.find import find
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.registry import create
from secateur.ir.types import TensorType
from secateur.tools.bench.arm.blocks import Block
from secateur.tools.checks.choice_check import CONVOLUTIONS, Layer, Way, layers_of, text_of, ways_of
from secateur.tools.checks.core_cycles import Core, disassembled, nested

needs_llvm = pytest.mark.skipif(
    shutil.which("llvm-mca") is None or shutil.which("llvm-mc") is None, reason="llvm is not installed"
)
needs_all = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("llvm-mca", "llvm-mc", "qemu-aarch64", "gcc")),
    reason="llvm, qemu-user or gcc is not installed",
)
FMLA = 0x4E22CC20  # fmla v0.4s, v1.4s, v2.4s: each waits for the last
FMUL = 0x6E22DC20  # fmul v0.4s, v1.4s, v2.4s
ADD, BACK = 0x91000400, 0x54FFFFC1  # add x0, x0, #1; b.ne .-8
LATENCY = 4  # of a multiply-add that waits for another's sum, on an A72


def layer(*ways: Way) -> Layer:
    return Layer("conv1/Conv", "64x56x56, 64x64x3x3", ways)


def test_what_is_chosen_is_least_by_the_estimate_and_best_by_the_simulation() -> None:
    a, b = Way("direct", 100, 90, 0), Way("winograd4", 80, 95, 0)
    found = layer(a, b)
    assert (found.chosen, found.best) == (b, a)
    assert found.loss == pytest.approx(95 / 90)
    assert not found.right
    assert layer(a, replace(b, core=91)).right, "llvm-mca is no better than that"


def test_weights_that_stream_count() -> None:
    assert Way("direct", 1, 100, 200).simulated == pytest.approx(230)
    assert Way("direct", 1, 200, 100).simulated == pytest.approx(230)


def test_the_table_has_the_layers_that_are_computed_by_another_way_than_the_best() -> None:
    right = layer(Way("direct", 1e5, 9e4, 0))
    wrong = layer(Way("direct", 1e5, 2e5, 0), Way("winograd4", 2e5, 1e5, 0))
    text = text_of("rpi4 fp32 net", [right, wrong])
    head = "rpi4 fp32 net: 1 of 2 layers are computed by the best way, 1 by one within 5% of it"
    assert text.startswith(f"{head}\n")
    assert text.count("conv1/Conv") == 1
    assert "2.00" in text
    assert text_of("rpi4 fp32 net", [right]) == "rpi4 fp32 net: 1 of 1 layers are computed by the best way\n"


@needs_llvm
def test_a_block_takes_what_llvm_mca_says_as_often_as_it_is_executed() -> None:
    chain, loop = Block(0, (FMLA, FMLA)), Block(64, (ADD, BACK))
    (cycles,) = Core(find("rpi4")).cycles([{chain: 1000, loop: 10}])
    assert cycles == pytest.approx(1000 * 2 * LATENCY, rel=0.05)


def test_code_around_a_loop_is_simulated_with_one_round_of_it() -> None:
    before, loop, after = Block(0, (1,)), Block(4, (2, 3)), Block(16, (4,))
    assert nested({before: 10, loop: 90, after: 10}) == {(1, 2, 3, 4): 10, (2, 3): 80}
    assert nested({loop: 5}) == {(2, 3): 5}


@needs_llvm
def test_what_follows_a_loop_does_not_wait_for_what_it_leaves_in_registers() -> None:
    """Sums begin anew before the loop: `fmul` writes what the last `fmla` has added to."""
    begun, loop, after = Block(0, (FMUL,)), Block(4, (ADD, BACK)), Block(12, (FMLA, FMLA))
    (cycles,) = Core(find("rpi4")).cycles([{begun: 1000, loop: 3000, after: 1000}])
    (alone,) = Core(find("rpi4")).cycles([{after: 1000}])
    assert cycles < alone


@needs_llvm
def test_words_that_are_no_instructions_are_refused() -> None:
    assert disassembled([FMLA])[0].split()[0] == "fmla"
    with pytest.raises(SecateurError, match="llvm-mc does not disassemble"):
        disassembled([0xFFFFFFFF])


def convolution(channels: int, side: int, kernel: int) -> Graph:
    """A network of one layer, twice: what is asked is asked once."""
    graph = Graph("net")
    x = graph.add_input(TensorType((1, channels, side, side)), "x")
    rng, pads = np.random.default_rng(0), (kernel // 2,) * 4
    for _ in range(2):
        weights = rng.standard_normal((channels, channels, kernel, kernel)).astype(np.float32)
        constant = graph.append(create("nn.constant", [], {"value": weights})).result
        window = {"strides": (1, 1), "pads": pads, "dilations": (1, 1), "groups": 1}
        x = graph.append(create("nn.conv", [x, constant], window)).result
    graph.set_outputs([x], ["y"])
    return graph


def test_of_a_primitive_the_fastest_choice_is_asked() -> None:
    op = next(op for op in convolution(16, 12, 3).operators if op.name in CONVOLUTIONS)
    every = [choice.primitive for choice, _ in ways_of(op, find("rpi4"), 100.0)]
    assert len(every) == len(set(every)) > 3
    near = [choice.primitive for choice, _ in ways_of(op, find("rpi4"), 1.0)]
    assert near == every[:1]


@needs_all
@pytest.mark.slow
def test_a_layer_is_compiled_in_every_way_run_and_simulated() -> None:
    (found,) = layers_of(convolution(32, 12, 1), find("rpi4"), 2.0)
    assert found.shape == "32x12x12, 32x32x1x1"
    cycles = {way.primitive: way.core for way in found.ways}
    multiplications = 32 * 32 * 12 * 12 / 4
    assert multiplications < cycles["pointwise"] < 1.5 * multiplications, "one a cycle, and what is beside"
    assert all(way.estimated / 3 < way.core < 3 * way.estimated for way in found.ways)
