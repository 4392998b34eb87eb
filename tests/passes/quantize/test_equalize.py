"""Equalization: not a bit of the answer moves, ranges end up balanced, and what each guard refuses."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.ir.graph import Graph, Operator, constant_of
from secateur.ir.interpreter import run
from secateur.ir.ops.quantize import quant_attributes
from secateur.ir.registry import create
from secateur.ir.rewrite import explain
from secateur.ir.types import DType
from secateur.ir.verifier import verify
from secateur.passes.framework.pipeline import format_pass
from secateur.passes.quantize.calibration.histogram import Histogram
from secateur.passes.quantize.calibration.ranges import choose, quant_of
from secateur.passes.quantize.calibration.statistics import Statistics, quantizable, stream
from secateur.passes.quantize.equalize import Equalize
from secateur.passes.quantize.magnitudes import factors, input_ranges, result_ranges
from tests.passes.texts import Array, build, inputs, names, structure

CONV = "{strides = [1, 1], pads = [1, 1, 1, 1], dilations = [1, 1]"
PAIRS = {
    "convolutions": f"""graph @g(%x: tensor<1x3x6x6xf32>) {{
  %w1 = const : tensor<4x3x3x3xf32>
  %b1 = const : tensor<1x4x1x1xf32>
  %w2 = const : tensor<5x4x3x3xf32>
  %b2 = const : tensor<1x5x1x1xf32>
  %h = nn.conv(%x, %w1, %b1) {CONV}, epilogue = [add, relu]}} : tensor<1x4x6x6xf32> loc("one")
  %y = nn.conv(%h, %w2, %b2) {CONV}, epilogue = [add, leaky_relu(0.5)]}} : tensor<1x5x6x6xf32> loc("two")
  return %y as "y"
}}""",
    "no bias": f"""graph @g(%x: tensor<1x3x6x6xf32>) {{
  %w1 = const : tensor<4x3x3x3xf32>
  %w2 = const : tensor<5x4x3x3xf32>
  %h = nn.conv(%x, %w1) {CONV}}} : tensor<1x4x6x6xf32> loc("one")
  %y = nn.conv(%h, %w2) {CONV}}} : tensor<1x5x6x6xf32> loc("two")
  return %y as "y"
}}""",
    "depthwise": f"""graph @g(%x: tensor<1x3x6x6xf32>) {{
  %w1 = const : tensor<4x3x1x1xf32>
  %w2 = const : tensor<4x1x3x3xf32>
  %w3 = const : tensor<5x4x1x1xf32>
  %one = nn.conv(%x, %w1) {{strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1],
    epilogue = [relu]}} : tensor<1x4x6x6xf32> loc("one")
  %two = nn.conv(%one, %w2) {CONV}, groups = 4, epilogue = [leaky_relu(0.25)]}} : tensor<1x4x6x6xf32>
  %y = nn.conv(%two, %w3) {{strides = [1, 1], pads = [0, 0, 0, 0], dilations = [1, 1]}} : tensor<1x5x6x6xf32>
  return %y as "y"
}}""",
    "groups": f"""graph @g(%x: tensor<1x6x6x6xf32>) {{
  %w1 = const : tensor<4x3x3x3xf32>
  %w2 = const : tensor<6x2x3x3xf32>
  %h = nn.conv(%x, %w1) {CONV}, groups = 2, epilogue = [relu]}} : tensor<1x4x6x6xf32>
  %y = nn.conv(%h, %w2) {CONV}, groups = 2}} : tensor<1x6x6x6xf32>
  return %y as "y"
}}""",
    "pools": f"""graph @g(%x: tensor<1x3x8x8xf32>) {{
  %w1 = const : tensor<4x3x3x3xf32>
  %b1 = const : tensor<1x4x1x1xf32>
  %w2 = const : tensor<5x4x3x3xf32>
  %h = nn.conv(%x, %w1, %b1) {CONV}, epilogue = [add, relu]}} : tensor<1x4x8x8xf32>
  %m = nn.max_pool(%h) {{kernel = [2, 2], strides = [2, 2], pads = [0, 0, 0, 0],
    dilations = [1, 1]}} : tensor<1x4x4x4xf32>
  %a = nn.average_pool(%m) {{kernel = [3, 3], strides = [1, 1], pads = [1, 1, 1, 1],
    dilations = [1, 1]}} : tensor<1x4x4x4xf32>
  %y = nn.conv(%a, %w2) {CONV}}} : tensor<1x5x4x4xf32>
  return %y as "y"
}}""",
    "dense": """graph @g(%x: tensor<2x7xf32>) {
  %w1 = const : tensor<7x4xf32>
  %b1 = const : tensor<4xf32>
  %w2 = const : tensor<4x5xf32>
  %h = nn.matmul(%x, %w1, %b1) {epilogue = [add, relu]} : tensor<2x4xf32>
  %y = nn.matmul(%h, %w2) : tensor<2x5xf32>
  return %y as "y"
}""",
    "transposed": f"""graph @g(%x: tensor<1x4x3x3xf32>) {{
  %w1 = const : tensor<4x3x3x3xf32>
  %w2 = const : tensor<6x2x3x3xf32>
  %h = nn.conv_transpose(%x, %w1) {CONV}, groups = 2, output_padding = [0, 0],
    epilogue = [relu]}} : tensor<1x6x3x3xf32>
  %y = nn.conv_transpose(%h, %w2) {CONV}, groups = 2, output_padding = [0, 0]}} : tensor<1x4x3x3xf32>
  return %y as "y"
}}""",
}


def linear(graph: Graph) -> list[Operator]:
    return [op for op in graph.operators if op.name in ("nn.conv", "nn.conv_transpose", "nn.matmul")]


def pairs(graph: Graph) -> list[tuple[Operator, Operator]]:
    layers = linear(graph)
    return list(pairwise(layers))


def disturbed(name: str, seed: int = 0, octaves: float = 6) -> Graph:
    """The text's graph with every weight array scaled along its first two axes."""
    graph, choose = build(PAIRS[name]), np.random.default_rng(seed)
    for op in linear(graph):
        constant = op.operands[1].producer
        assert constant is not None
        weights = constant["value"]
        for axis in (0, 1):
            shape = [-1 if i == axis else 1 for i in range(weights.ndim)]
            scale = np.exp2(choose.uniform(-octaves, octaves, weights.shape[axis])).reshape(shape)
            weights = (weights * scale).astype(np.float32)
        constant.attributes["value"] = weights
    return graph


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_not_a_bit_of_the_answer_moves(name: str, seed: int) -> None:
    before = disturbed(name, seed)
    given = inputs(before, seed)
    after = Equalize().run(before.clone())
    verify(after)
    np.testing.assert_array_equal(run(after, given)["y"], run(before, given)["y"])


@pytest.mark.parametrize("name", PAIRS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1))
def test_ranges_end_up_within_a_factor_of_two(name: str, seed: int) -> None:
    graph = disturbed(name, seed)
    assert all((factors(*pair) != 1).any() for pair in pairs(graph))
    with explain("equalize") as explanation:
        graph = Equalize().run(graph)
    assert explanation.fired >= len(pairs(graph))
    for first, second in pairs(graph):
        ratio = result_ranges(first) / input_ranges(second)
        assert ratio.min() >= 0.5
        assert ratio.max() <= 2


@pytest.mark.parametrize("name", PAIRS)
def test_structure_names_and_places_stay(name: str) -> None:
    before = disturbed(name)
    after = Equalize().run(before.clone())
    assert structure(after) == structure(before)
    shown = [{v.name: v.producer.loc if v.producer else "" for v in g.values()} for g in (before, after)]
    assert shown[0] == shown[1]


def test_one_wrong_weight_would_be_noticed() -> None:
    before = disturbed("convolutions")
    after = Equalize().run(before.clone())
    weights = constant_of(linear(after)[1].operands[1])
    assert weights is not None
    weights[:, 0] *= 2
    assert not np.array_equal(run(after, inputs(before))["y"], run(before, inputs(before))["y"])


def test_dead_channels_are_left_alone() -> None:
    graph = disturbed("no bias")
    first, second = pairs(graph)[0]
    for op, index in ((first, np.s_[1]), (second, np.s_[:, 2])):
        weights = constant_of(op.operands[1])
        assert weights is not None
        weights[index] = 0
    assert factors(first, second)[[1, 2]].tolist() == [1, 1]
    given = inputs(graph)
    np.testing.assert_array_equal(run(Equalize().run(graph.clone()), given)["y"], run(graph, given)["y"])


def test_a_bias_counts_as_a_weight() -> None:
    """A channel that is almost its bias alone must not be blown up to match the others' weights."""
    graph = disturbed("convolutions", octaves=0)
    first, second = pairs(graph)[0]
    weights, bias = (constant_of(first.operands[i]) for i in (1, 2))
    assert weights is not None
    assert bias is not None
    weights[0] *= np.float32(2.0**-60)
    bias[0, 0] = 1.0
    assert factors(first, second)[0] >= 2.0**-3


@settings(max_examples=10)
@given(st.integers(2, 14), st.integers(0, 2**32 - 1))
def test_chains_come_to_rest(depth: int, seed: int) -> None:
    lines, choose = ["graph @g(%h0: tensor<1x6xf32>) {"], np.random.default_rng(seed)
    for i in range(depth):
        lines.append(f"  %w{i} = const : tensor<6x6xf32>")
        lines.append(f"  %h{i + 1} = nn.matmul(%h{i}, %w{i}) {{epilogue = [relu]}} : tensor<1x6xf32>")
    graph = build("\n".join([*lines, f'  return %h{depth} as "y"', "}"]))
    for op in linear(graph):
        weights = constant_of(op.operands[1])
        assert weights is not None
        weights *= np.exp2(choose.uniform(-5, 5, (6, 6))).astype(np.float32)
    given = inputs(graph)
    after = Equalize().run(graph.clone())
    np.testing.assert_array_equal(run(after, given)["y"], run(graph, given)["y"])
    assert all((factors(*pair) == 1).all() for pair in pairs(after))


# What it is for ------------------------------------------------------------------------------------


def in_bytes(graph: Graph, value_name: str, batch: dict[str, Array]) -> Graph:
    """The graph with one value rounded to bytes of its least and largest."""
    histograms, images = stream(graph, [batch], [value_name], Histogram)
    low, high = choose(Statistics(images, histograms), "minmax")[value_name]
    copy = graph.clone()
    value = quantizable(copy)[value_name]
    quantize = create("q.quantize", [value], {**quant_attributes(quant_of(low, high)), "dtype": DType.U8})
    back = create("q.dequantize", [quantize.result])
    (user,) = [op for op in value.users if op is not quantize]
    copy.insert_before(user, [quantize, back])
    user.operands = [back.result, *user.operands[1:]]
    return copy


def decibels(signal: Array, noise: Array) -> float:
    return 10 * math.log10(float(np.sum(signal**2)) / float(np.sum(noise**2)))


def test_uneven_channels_gain_bits() -> None:
    """Channels scaled apart by up to 2^8, and back in the next layer: one scale loses the small ones."""
    graph = build(PAIRS["no bias"])
    first, second = pairs(graph)[0]
    scale = np.exp2(np.array([4, -4, 0, 2], np.float32))
    for op, shape in ((first, (4, 1, 1, 1)), (second, (1, 4, 1, 1))):
        weights = constant_of(op.operands[1])
        assert weights is not None
        weights *= scale.reshape(shape) if op is first else 1 / scale.reshape(shape)
    batch = inputs(graph)
    real = run(graph, batch)["y"]
    uneven = decibels(real, run(in_bytes(graph, "h", batch), batch)["y"] - real)
    even = decibels(real, run(in_bytes(Equalize().run(graph), "h", batch), batch)["y"] - real)
    assert even > uneven + 10


# Refusals ------------------------------------------------------------------------------------------


def refusal(text: str) -> str:
    with explain("equalize") as explanation:
        graph = Equalize().run(build(text))
    assert not explanation.fired
    return explanation.report(graph)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[add, relu]", "[add, clip(0.0, 6.0)]", "its epilogue has clip, which does not pass a factor on"),
        ("[add, relu]", "[add, relu, sigmoid]", "its epilogue has sigmoid"),
        ("[add, relu]", "[mul, relu]", "its epilogue has mul"),
        ("const : tensor<1x4x1x1xf32>", "const : tensor<1x4x6x6xf32>", "its epilogue has add"),
        ('return %y as "y"', 'return %y as "y", %h as "h"', "%h is a graph output and must stay"),
        (
            'return %y as "y"',
            '%r = nn.relu(%h) : tensor<1x4x6x6xf32>\n return %r as "r", %y as "y"',
            "2 uses",
        ),
    ],
)
def test_pairs_that_are_refused(old: str, new: str, message: str) -> None:
    text = PAIRS["convolutions"]
    assert text.count(old) == 1
    assert message in refusal(text.replace(old, new))


def test_computed_weights_are_refused() -> None:
    text = PAIRS["dense"].replace("  %w2 = const : tensor<4x5xf32>\n", "")
    text = text.replace("%x: tensor<2x7xf32>", "%x: tensor<2x7xf32>, %w2: tensor<4x5xf32>")
    assert "its weights are not constant" in refusal(text)


def test_balanced_pairs_are_left_alone() -> None:
    graph = Equalize().run(disturbed("convolutions"))
    with explain("equalize") as explanation:
        Equalize().run(graph)
    assert "its channels are balanced" in explanation.report(graph)
    assert not explanation.fired


def test_channels_along_different_axes_are_refused() -> None:
    text = """graph @g(%x: tensor<1x3x6x4xf32>) {
  %w1 = const : tensor<5x3x1x1xf32>
  %w2 = const : tensor<4x7xf32>
  %h = nn.conv(%x, %w1) {VALID} : tensor<1x5x6x4xf32>
  %y = nn.matmul(%h, %w2) : tensor<1x5x6x7xf32>
  return %y as "y"
}"""
    assert "its channels lie along axis 1, the next layer sums over 3" in refusal(text)


def test_half_floats_are_refused() -> None:
    text = PAIRS["dense"].replace("xf32", "xf16")
    assert "is f16, not f32" in refusal(text)


def test_the_pass_has_a_name_and_keeps_operators() -> None:
    graph = disturbed("pools")
    assert format_pass(Equalize()) == "equalize"
    assert names(Equalize().run(graph.clone())) == names(graph)
