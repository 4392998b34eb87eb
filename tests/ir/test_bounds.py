"""Bounds of values: what is claimed holds for any input, and what decides is claimed."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.bounds import ANYTHING, Bounds, after_step, bounds_of
from secateur.ir.elementwise import Step
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.parser import parse_graph

T = "tensor<1x4x6x6xf32>"
POOL = "kernel = [2, 2], strides = [2, 2], dilations = [1, 1]"
INF = math.inf


def graph(text: str) -> Graph:
    """Operators on %x (any), %p (not negative) and %q (from 0 to 6)."""
    return parse_graph(
        f"graph @g(%x: {T}, %z: {T}) {{ %p = nn.relu(%x) : {T} "
        f"%q = nn.clip(%z) {{min = 0.0, max = 6.0}} : {T} {text} return %y as \"y\" }}"
    )  # fmt: skip


CASES: list[tuple[str, Bounds]] = [
    (f"%y = nn.relu(%x) : {T}", Bounds(0, INF)),
    (f"%y = nn.clip(%x) {{min = -1.0, max = 2.0}} : {T}", Bounds(-1, 2)),
    (f"%y = nn.clip(%p) {{min = -1.0, max = 2.0}} : {T}", Bounds(0, 2)),
    (f"%y = nn.sigmoid(%x) : {T}", Bounds(0, 1)),
    (f"%y = nn.tanh(%x) : {T}", Bounds(-1, 1)),
    (f"%y = nn.hard_sigmoid(%x) : {T}", Bounds(0, 1)),
    (f"%y = nn.leaky_relu(%p) : {T}", ANYTHING),
    (f"%y = nn.add(%p, %q) : {T}", Bounds(0, INF)),
    (f"%y = nn.add(%p, %x) : {T}", ANYTHING),
    (f"%y = nn.sub(%p, %q) : {T}", Bounds(-6, INF)),
    (f"%y = nn.mul(%p, %q) : {T}", Bounds(0, INF)),
    (f"%y = nn.mul(%p, %x) : {T}", ANYTHING),
    (f"%y = nn.max(%q, %x) : {T}", Bounds(0, INF)),
    (f"%y = nn.min(%q, %x) : {T}", Bounds(-INF, 6)),
    (f"%n = nn.neg(%q) : {T} %y = nn.relu(%n) : {T}", Bounds(0, 0)),
    (f"%y = nn.max_pool(%q) {{{POOL}, pads = [0, 0, 0, 0]}} : tensor<1x4x3x3xf32>", Bounds(0, 6)),
    (
        f"%s = nn.sigmoid(%q) : {T} %y = nn.average_pool(%s) {{{POOL}, pads = [1, 1, 1, 1], "
        "count_include_pad = true} : tensor<1x4x4x4xf32>",
        Bounds(0, 1 / (1 + math.exp(-6))),
    ),
    ("%y = nn.reduce_mean(%q) {axes = [2, 3]} : tensor<1x4x1x1xf32>", Bounds(0, 6)),
    ("%y = nn.concat(%p, %q) {axis = 1} : tensor<1x8x6x6xf32>", Bounds(0, INF)),
    ("%y = nn.concat(%p, %x) {axis = 1} : tensor<1x8x6x6xf32>", ANYTHING),
    ("%y = nn.pad(%q) {pads = [0, 0, 1, 0, 0, 0, 0, 0], value = -1.0} : tensor<1x4x7x6xf32>", Bounds(-1, 6)),
    ("%y = nn.carry(%q) {ranges = [1, 3]} : tensor<1x2x6x6xf32>", Bounds(0, 6)),
    (f"%y = nn.channel_sum(%p, %q) {{channels = 4, ranges = [0, 4, 0, 4]}} : {T}", Bounds(0, INF)),
    (f"%y = nn.channel_sum(%x, %q) {{channels = 4, ranges = [0, 4, 0, 4]}} : {T}", ANYTHING),
    (f"%y = nn.map(%p, %q) {{epilogue = [add, neg]}} : {T}", Bounds(-INF, 0)),
    (f"%y = nn.softmax(%x) {{axis = 1}} : {T}", Bounds(0, 1)),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), CASES)
def test_bounds_are_found_and_hold(text: str, wanted: Bounds) -> None:
    built = graph(text)
    found = bounds_of(built.outputs[0])
    assert tuple(found) == pytest.approx(tuple(wanted))
    for seed in range(3):
        y = run(built, _fed(built, seed))["y"].astype(np.float64)
        assert found.low - 1e-6 <= y.min()
        assert y.max() <= found.high + 1e-6


def _fed(built: Graph, seed: int) -> dict[str, np.ndarray]:
    choose = np.random.default_rng(seed)
    return {v.name: (choose.standard_normal(v.type.shape) * 10).astype(np.float32) for v in built.inputs}


def test_the_epilogue_of_a_convolution_counts() -> None:
    conv = "strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]"
    text = "%w = nn.constant() {value = dense<1x4x1x1xf32: [1.0, -1.0, 2.0, 0.5]>} : tensor<1x4x1x1xf32>"
    for steps, wanted in (("", ANYTHING), (", epilogue = [relu]", Bounds(0, INF))):
        built = graph(f"{text} %y = nn.conv(%x, %w) {{{conv}{steps}}} : tensor<1x1x6x6xf32>")
        assert bounds_of(built.outputs[0]) == wanted


def test_constants_are_known_unless_one_is_no_number() -> None:
    for elements, wanted in (("[-1.0, 3.0]", Bounds(-1, 3)), ("[nan, 3.0]", ANYTHING)):
        built = graph(f"%y = nn.constant() {{value = dense<2xf32: {elements}>}} : tensor<2xf32>")
        assert bounds_of(built.outputs[0]) == wanted


FUNCTIONS = ["relu", "sigmoid", "tanh", "softplus", "exp", "sqrt", "abs", "floor", "sign", "neg", "mish"]


@settings(max_examples=60)
@given(
    st.sampled_from(FUNCTIONS), st.floats(-50, 50, width=32), st.floats(-50, 50, width=32), st.floats(0, 1)
)
def test_a_function_stays_within_its_bounds(name: str, one: float, other: float, share: float) -> None:
    low, high = sorted((one, other))
    x = np.array([low + share * (high - low), low, high])
    with np.errstate(invalid="ignore"):
        y = Step(name).function.evaluate(x)
    found = after_step(Step(name), Bounds(low, high))
    assert all(np.isnan(v) or found.low <= v <= found.high for v in y)
