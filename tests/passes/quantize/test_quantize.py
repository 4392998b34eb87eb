"""Quantization on small graphs: what is cut, what computes in 8 bits, what comes out, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from secateur.ir.errors import ModelNote, SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.ir.printer import print_graph
from secateur.ir.stages import QUANTIZED
from secateur.ir.verifier import verify
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import PipelineError, format_pass, parse_pipeline
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.quantize.calibrate import CalibrationData, calibrate
from secateur.passes.quantize.calibration.ranges import Ranges, RangesError
from secateur.passes.quantize.maker import prepare
from secateur.passes.quantize.measure import decibels, output_sqnr
from secateur.passes.quantize.options import Options
from secateur.passes.quantize.plan import make_plan, shared_groups
from secateur.passes.quantize.quantize import Quantize, quantize_graph, quantized_pairs
from secateur.passes.quantize.split import split_epilogues
from tests.passes.texts import answers, body, build, names

X = "tensor<1x4x8x8xf32>"
WEIGHTS = (
    "%w = const : tensor<4x4x3x3xf32>\n%b = const : tensor<1x4x1x1xf32>\n%v = const : tensor<4x4x3x3xf32>\n"
)
CONV = f"%c = nn.conv(%x, %w, %b) {{SAME, epilogue = [add, relu]}} : {X}\n"
DIRECT = Options(winograd="off")


def network(text: str) -> Graph:
    return build(body(X, WEIGHTS + text))


def images(count: int = 6, seed: int = 3) -> list[dict[str, Any]]:
    choose = np.random.default_rng(seed)
    arrays = choose.standard_normal((2, count, 1, 4, 8, 8), dtype=np.float32)
    return [{"x": x, "z": z} for x, z in zip(*arrays, strict=True)]


def quantized(graph: Graph, options: Options = DIRECT) -> Graph:
    made, _ = quantize_graph(graph, CalibrationData(images()), options)
    verify(made, QUANTIZED)
    return made


def error_of(graph: Graph, made: Graph) -> float:
    held_out = images(3, 4)
    real = [list(run(graph, i).values()) for i in held_out]
    return output_sqnr(real, [list(run(made, i).values()) for i in held_out])


# What becomes of operators -------------------------------------------------------------------------

LAST = f'%y = nn.conv(%s, %v) {{SAME}} : {X}\nreturn %y as "y"'
CASES = {
    "relu": (
        CONV.replace("%c", "%s") + LAST,
        ["q.quantize", "q.linear_conv", "q.linear_conv"],
    ),
    "residual": (
        f"%s = nn.conv(%x, %w, %b, %z) {{SAME, epilogue = [add, add, relu]}} : {X}\n{LAST}",
        ["q.quantize", "q.quantize", "q.linear_conv", "q.linear_conv"],
    ),
    "silu": (
        f"%s = nn.conv(%x, %w, %b) {{SAME, epilogue = [add, silu]}} : {X}\n{LAST}",
        ["q.quantize", "q.linear_conv", "q.table", "q.linear_conv"],
    ),
    "relu6": (
        f"%s = nn.conv(%x, %w) {{SAME, epilogue = [clip(0.0, 6.0)]}} : {X}\n{LAST}",
        ["q.quantize", "q.linear_conv", "q.linear_conv"],
    ),
    "sum": (
        f"{CONV}%s = nn.map(%c, %z) {{epilogue = [add, relu]}} : {X}\n{LAST}",
        ["q.quantize", "q.quantize", "q.linear_conv", "q.linear_add", "q.linear_conv"],
    ),
    "gate": (
        f"{CONV}%m = nn.reduce_mean(%c) {{axes = [2, 3]}} : tensor<1x4x1x1xf32>\n"
        f"%k = nn.map(%m) {{epilogue = [sigmoid]}} : tensor<1x4x1x1xf32>\n"
        f"%s = nn.map(%c, %k) {{epilogue = [mul]}} : {X}\n{LAST}",
        ["q.quantize", "q.linear_conv", "q.linear_average_pool", "q.table", "q.linear_mul", "q.linear_conv"],
    ),
    "pool": (
        f"{CONV}%s = nn.max_pool(%c) {{SAME, kernel = [3, 3]}} : {X}\n{LAST}",
        ["q.quantize", "q.linear_conv", "nn.max_pool", "q.linear_conv"],
    ),
    "softmax": (
        f'{CONV}%y = nn.softmax(%c) {{axis = 1}} : {X}\nreturn %y as "y"',
        ["q.quantize", "q.linear_conv", "nn.map", "nn.softmax"],
    ),
    "float tail": (
        f'%y = nn.conv(%x, %w, %b) {{SAME, epilogue = [add, silu]}} : {X}\nreturn %y as "y"',
        ["q.quantize", "q.linear_conv", "nn.map"],
    ),
    "dynamic weights": (
        f'%y = nn.matmul(%x, %z) : {X}\nreturn %y as "y"',
        ["nn.matmul"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operators_in_8_bits(case: str) -> None:
    text, expected = CASES[case]
    graph = network(text)
    made = quantized(graph)
    assert sorted(names(made)) == sorted(expected)
    least = {"softmax": 20, "dynamic weights": 200}.get(case, 28)
    assert error_of(graph, made) > least


def test_the_text_of_a_quantized_convolution() -> None:
    text = print_graph(quantized(network(CONV.replace("%c", "%y") + 'return %y as "y"')))[0]
    line = next(line for line in text.splitlines() if "linear_conv" in line)
    assert re.fullmatch(
        r"  %y = q\.linear_conv\(%x_quantized, %w, %w\.bias\) \{strides = \[1, 1\], pads = \[1, 1, 1, 1\], "
        r"dilations = \[1, 1\], dtype = f32\} : tensor<1x4x8x8xf32>|"
        r"  %\S+ = q\.linear_conv\(.*\) \{.*dtype = f32.*\} : tensor<1x4x8x8xf32>",
        line,
    )


def test_concatenated_values_share_the_widest_range() -> None:
    joined = "tensor<1x8x8x8xf32>"
    graph = network(
        f"{CONV}%d = nn.conv(%z, %v) {{SAME}} : {X}\n%k = nn.concat(%c, %d) {{axis = 1}} : {joined}\n"
        f"%m = nn.max_pool(%k) {{SAME, kernel = [3, 3]}} : {joined}\n"
        f"%u = const : tensor<4x8x3x3xf32>\n%y = nn.conv(%m, %u) {{SAME}} : {X}\n" + 'return %y as "y"'
    )
    groups = shared_groups(make_plan(graph))
    assert sorted(len(group) for group in groups) == [1, 1, 4]
    found = quantized(graph)
    quants = {op.result.type.quant for op in found.operators if op.name in ("nn.concat", "nn.max_pool")}
    assert len(quants) == 1
    assert error_of(graph, found) > 25


def test_a_result_that_float_operators_read_too_is_quantized_once() -> None:
    graph = network(
        f"{CONV}%t = nn.softmax(%c) {{axis = 1}} : {X}\n%s = nn.conv(%c, %v) {{SAME}} : {X}\n"
        'return %t as "t", %s as "s"'
    )
    made = quantized(graph)
    assert names(made).count("q.quantize") == 1
    assert error_of(graph, made) > 28


def test_dead_channels_keep_their_bias() -> None:
    graph = network(CONV.replace("%c", "%y") + 'return %y as "y"')
    weights, bias = (op["value"] for op in graph.operators[:2])
    weights[1], bias[0, 1] = 0, 5.0
    made = quantized(graph)
    np.testing.assert_allclose(run(made, images()[0])["y"][0, 1], 5.0, atol=1e-4)


# Steps ---------------------------------------------------------------------------------------------


def test_cutting_epilogues_moves_no_answer() -> None:
    graph = network(
        f"%s = nn.conv(%x, %w, %b, %z) {{SAME, epilogue = [add, add, relu, silu, mul]}} : {X}\n".replace(
            "%z)", "%z, %x)"
        )
        + 'return %s as "s"'
    )
    cut = graph.clone()
    split_epilogues(cut)
    assert names(cut) == ["nn.conv", "nn.map", "nn.map"]
    for before, after in zip(answers(graph).values(), answers(cut).values(), strict=True):
        np.testing.assert_array_equal(before, after)


def test_values_between_float_operators_stay() -> None:
    graph = network(f'%y = nn.softmax(%x) {{axis = 1}} : {X}\nreturn %y as "y"')
    assert make_plan(graph).values == ()


def test_bias_correction_centres_the_error() -> None:
    graph = network(CONV.replace("%c", "%s").replace("[add, relu]", "[add]") + 'return %s as "s"')
    data = [{k: np.abs(v) + 1 for k, v in i.items()} for i in images(8)]

    def bias_of_error(corrected: bool) -> float:
        options = replace(DIRECT, bias_correction=corrected)
        made, _ = quantize_graph(graph, CalibrationData(data), options)
        error = np.mean([run(made, i)["s"] - run(graph, i)["s"] for i in data], axis=0)
        return float(np.abs(error.mean(axis=(0, 2, 3))).max())

    assert bias_of_error(True) < bias_of_error(False) / 3


def largest_weights(graph: Graph) -> set[int]:
    """The largest magnitudes in the constants of bytes."""
    arrays = [op.attributes["value"] for op in graph.operators if op.name == "nn.constant"]
    return {int(np.abs(a.astype(int)).max()) for a in arrays if a.dtype == np.int8}


def test_weights_of_a_reduced_range_have_7_bits() -> None:
    graph = network(CASES["relu"][0])
    for reduced, largest in ((False, 127), (True, 63)):
        options = replace(DIRECT, reduce_range=reduced)
        made, report = quantize_graph(graph, CalibrationData(images()), options)
        pairs, _ = quantized_pairs(graph, CalibrationData(images()), options)
        assert largest_weights(made) == largest_weights(pairs) == {largest}
        assert report.sqnr is not None
        assert report.sqnr > 25
    assert 2 * 255 * 63 < 2**15 <= 2 * 255 * 127, "what two products with a byte may come to in 16 bits"


def test_pairs_compute_what_integers_do() -> None:
    graph = network(CASES["relu"][0])
    pairs, _ = quantized_pairs(graph, CalibrationData(images()), DIRECT)
    made = quantized(graph)
    for image in images(2, 9):
        real = run(graph, image)["y"]
        a, b = run(pairs, image)["y"], run(made, image)["y"]
        assert np.abs(a - b).max() < 0.05 * np.abs(real).max()
    assert not [op for op in pairs.operators if op.name.startswith("q.linear")]


def test_the_same_data_gives_the_same_graph() -> None:
    graph = network(CASES["residual"][0])
    first, second = (print_graph(quantized(graph)) for _ in range(2))
    assert first[0] == second[0]
    assert all((first[1][k] == second[1][k]).all() for k in first[1])


def test_saved_ranges_are_used_as_they_are() -> None:
    graph = network(CONV.replace("%c", "%y") + 'return %y as "y"')
    prepared = prepare(graph, DIRECT)
    found = calibrate(prepared, CalibrationData(images()), "minmax", 100.0, False).ranges
    wide = replace(found, ranges={**found.ranges, "x": (-8.0, 8.0)})
    made, _ = quantize_graph(graph, CalibrationData(images(), wide), DIRECT)
    quant = next(op.result.type.quant for op in made.operators if op.name == "q.quantize")
    assert quant is not None
    assert quant.scales[0] == pytest.approx(16 / 255)


# Limits --------------------------------------------------------------------------------------------


def test_the_noisiest_layers_stay_in_float_for_a_limit() -> None:
    graph = network(CASES["relu"][0])
    free, report = quantize_graph(graph, CalibrationData(images()), DIRECT)
    strict = replace(DIRECT, min_sqnr=report.sqnr + 1)
    made, stricter = quantize_graph(graph, CalibrationData(images()), strict)
    assert stricter.sqnr >= report.sqnr + 1
    assert stricter.float_layers
    assert names(made).count("q.linear_conv") < names(free).count("q.linear_conv")
    again, _ = quantize_graph(
        graph, CalibrationData(images()), replace(DIRECT, keep_float=stricter.float_layers)
    )
    assert names(again) == names(made)


def test_the_report_tells_of_every_operator() -> None:
    made, report = quantize_graph(network(CASES["pool"][0]), CalibrationData(images()), DIRECT)
    assert [row.operator for row in report.rows] == names(made)
    row = next(row for row in report.rows if row.operator == "q.linear_conv")
    assert row.low == 0.0
    assert row.high is not None
    assert row.high > 0
    assert row.sqnr is not None
    assert row.sqnr > 30
    assert row.saturated is not None
    assert row.saturated < 0.01


# The pass ------------------------------------------------------------------------------------------


def test_the_pass_round_trips_to_text() -> None:
    step = Quantize(
        method="entropy", min_sqnr=30.5, winograd="4x2", keep_float=["/conv1", "/a;b"], equalize=True
    )
    text = format_pass(step)
    assert (
        text
        == 'quantize{method=entropy,winograd="4x2",keep_float="/conv1\\n/a;b",equalize=true,min_sqnr=30.5}'
    )
    assert parse_pipeline(text) == (step,)


def test_the_pass_tells_its_listener() -> None:
    heard: list[Any] = []
    step = Quantize(winograd="off", data=CalibrationData(images()), listen=heard.append)
    graph = network(CASES["relu"][0])
    outcome = PassManager((Fuse(), step, Fuse())).run(graph)
    assert names(outcome.graph) == CASES["relu"][1]
    assert heard[0].sqnr > 28


# Refusals ------------------------------------------------------------------------------------------


def test_no_calibration_data_is_refused() -> None:
    with pytest.raises(SecateurError, match="needs calibration data"):
        PassManager((Quantize(),)).run(network(CASES["relu"][0]))


def test_no_image_is_refused() -> None:
    with pytest.raises(SecateurError, match="not one image"):
        quantize_graph(network(CASES["relu"][0]), CalibrationData([]), DIRECT)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("quantize{method=median}", "unknown method 'median'; known: minmax"),
        ("quantize{winograd=6}", "unknown winograd '6'; known: auto"),
        ("quantize{kep_float=fc}", "no option 'kep_float'.*did you mean 'keep_float'"),
        ("quantize{min_sqnr=high}", "min_sqnr=high is not a number"),
    ],
)
def test_options_that_are_none(text: str, message: str) -> None:
    with pytest.raises((PipelineError, SecateurError), match=message):
        parse_pipeline(text)


def test_an_unknown_layer_is_refused_with_the_nearest() -> None:
    with pytest.raises(SecateurError, match="no layer to keep in float is called 'yy'"):
        quantized(network(CASES["relu"][0]), replace(DIRECT, keep_float=("yy",)))


def test_a_limit_that_cannot_be_kept_is_refused() -> None:
    with pytest.raises(SecateurError, match="cannot be kept"):
        quantized(network(CASES["pool"][0]), replace(DIRECT, min_sqnr=1e6))


def test_a_limit_on_accuracy_needs_labels() -> None:
    with pytest.raises(SecateurError, match="needs labelled calibration data"):
        quantized(network(CASES["relu"][0]), replace(DIRECT, max_drop=1.0))


def test_ranges_of_a_network_that_multiplies_a_constant_and_doubles() -> None:
    """Those have no ranges, neither from images nor from a file."""
    text = f"""{CONV}%k = const : tensor<8x8xf32>
%d = nn.cast(%z) {{dtype = f64}} : {X.replace("f32", "f64")}
%e = nn.matmul(%d, %d) : {X.replace("f32", "f64")}
%f = nn.cast(%e) {{dtype = f32}} : {X}
%m = nn.matmul(%k, %c) : {X}
%s = nn.map(%m, %f) {{epilogue = [add]}} : {X}
{LAST}"""
    made, report = quantize_graph(network(text), CalibrationData(images()), DIRECT)
    again, _ = quantize_graph(network(text), CalibrationData(images(), report.ranges), DIRECT)
    assert print_graph(again)[0] == print_graph(made)[0]


def test_ranges_of_another_model_are_refused() -> None:
    ranges = Ranges("minmax", 1, {"elsewhere": (0.0, 1.0)})
    with pytest.raises(RangesError, match="elsewhere"):
        quantize_graph(network(CASES["relu"][0]), CalibrationData(images(), ranges), DIRECT)


def test_infinite_images_are_refused() -> None:
    def broken() -> Iterator[dict[str, Any]]:
        for image in images(2):
            image["x"][0, 0, 0, 0] = np.inf
            yield image

    with pytest.raises(SecateurError, match="input 'x' is NaN or infinite in the calibration images"):
        quantize_graph(network(CASES["relu"][0]), CalibrationData(broken()), DIRECT)


LOGARITHM = f"""{CONV}%l = nn.map(%c) {{epilogue = [log]}} : {X}
%s = nn.map(%l) {{epilogue = [exp]}} : {X}
{LAST}"""


def test_layers_around_infinities_stay_in_float() -> None:
    """A ReLU's zeros have infinite logarithms, whose exponentials are finite."""
    graph = network(LOGARITHM)
    with pytest.warns(ModelNote, match=r"values 'l' \(1 in all\) held NaN or infinity .* stay in float"):
        made, report = quantize_graph(graph, CalibrationData(images()), DIRECT)
    assert (report.ranges.unbounded, report.float_layers) == (("l",), ("l", "s"))
    assert [op.name for op in made.operators if op.name != "nn.constant"] == [
        "q.quantize", "q.linear_conv", "nn.map", "q.quantize", "q.linear_conv",
    ]  # fmt: skip
    with pytest.warns(ModelNote, match="stay in float"):
        again, _ = quantize_graph(graph, CalibrationData(images(), report.ranges), DIRECT)
    assert print_graph(again)[0] == print_graph(made)[0]


def test_infinities_are_refused_where_no_layer_stays_in_float() -> None:
    with pytest.raises(SecateurError, match="have no range; TFLite's 8-bit targets keep no layer in float"):
        quantize_graph(network(LOGARITHM), CalibrationData(images()), Options(rounding="tflite"))


def test_equal_infinities_are_no_noise() -> None:
    real, other = np.array([np.inf, 1, np.nan]), np.array([np.inf, 1.1, np.nan])
    assert output_sqnr([[real]], [[other]]) == pytest.approx(20)
    assert output_sqnr([[real]], [[-other]]) == float("-inf")


def test_decibels_of_nothing_and_of_everything() -> None:
    assert decibels(1.0, 0.0) == float("inf")
    assert decibels(1.0, float("nan")) == float("-inf")
    assert decibels(100.0, 1.0) == pytest.approx(20.0)
