"""Winograd tiles of operators that TFLite has: exact in LiteRT, near the convolution, used to gain."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import pytest

import secateur
from secateur import Int8, Limits, SecateurError
from secateur.codegen.backends.tflite.contents import read_contents
from secateur.codegen.backends.tflite.coral import refusal
from secateur.ir.graph import Graph, Operator
from secateur.ir.interpreter import run
from secateur.ir.ops.quantize import TFLITE
from secateur.ir.registry import create
from secateur.ir.types import Quant
from secateur.passes.quantize.file_tiles import tile_sqnr
from secateur.passes.quantize.tiles import Patches
from secateur.passes.tflite.functions import constant
from secateur.passes.tflite.tiles import Form, create_tiles, tile_form

from ...secateur.small_networks import network
from .litert import Array, check_agrees, file_of, litert, random_inputs

SCALE, ZERO = 0.02, 100


class Case(NamedTuple):
    """A 3x3 convolution: filters, channels, height and width of its input; padding; stored limits."""

    shape: tuple[int, int, int, int]
    pads: tuple[int, ...]
    limits: tuple[int, int]


def layer(case: Case) -> tuple[Operator, Array]:
    """Its q.linear_conv, without bias, and the real weights."""
    shape, pads, limits = case
    filters, channels, *image = shape
    rng = np.random.default_rng(sum(shape))
    real = rng.normal(size=(filters, channels, 3, 3)) * np.exp(rng.normal(size=(filters, 1, 1, 1)))
    scales = np.abs(real).max((1, 2, 3)) / 127
    stored = np.rint(real / scales[:, None, None, None]).astype(np.int8)
    x = constant(np.zeros((1, channels, *image), np.uint8), "x", Quant((SCALE,), (ZERO,))).result
    w = constant(stored, "w", Quant(tuple(map(float, scales)), (0,) * filters, 0)).result
    b = constant(np.zeros(filters, np.int32), "b").result
    scale = float(real.std() * 60 * SCALE * np.sqrt(9 * channels) / 40)
    window = {"strides": (1, 1), "dilations": (1, 1), "pads": pads, "groups": 1, "limits": limits}
    result = {"rounding": TFLITE, "scales": (scale,), "zero_points": (128,)}
    return create("q.linear_conv", [x, w, b], {**window, **result}, "layer"), real


def bytes_like(shape: tuple[int, ...], seed: int) -> Array:
    found = np.random.default_rng(seed).normal(size=shape) * 60 + ZERO
    return np.clip(found, 0, 255).astype(np.uint8)


def tiled(op: Operator, form: Form) -> Graph:
    graph = Graph("tiled")
    x = graph.add_input(op.operands[0].type, "x")
    made = create_tiles(create(op.name, [x, *op.operands[1:]], op.attributes, op.loc), form)
    for part in made:
        graph.append(part)
    graph.set_outputs([made[-1].result], ["y"])
    return graph


CASES = [
    Case((5, 7, 9, 11), (1, 1, 1, 1), (0, 255)),
    Case((16, 8, 8, 6), (0, 1, 2, 1), (128, 255)),
    Case((6, 3, 7, 4), (0, 0, 0, 0), (0, 255)),
]


def form_of(op: Operator, real: Array) -> Form:
    filters, channels = real.shape[:2]
    return tile_form(op, real, np.zeros(filters), bytes_like((8, channels, 12, 12), 1))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("target", ["litert", "edgetpu"])
def test_a_tile_is_exact_in_litert_and_all_of_it_maps(case: Case, target: str, tmp_path: Path) -> None:
    """On bytes of the whole range, beyond those that scales were chosen on."""
    op, real = layer(case)
    graph = tiled(op, form_of(op, real))
    check_agrees(graph, target=target)
    (tmp_path / "m.tflite").write_bytes(file_of(graph, target))
    listed = read_contents(tmp_path / "m.tflite").operators
    assert [refusal(o) for o in listed] == [None] * len(listed)
    kinds = [o.kind for o in listed]
    assert (kinds.count("DEPTHWISE_CONV_2D"), kinds.count("CONV_2D")) == (16 + 4, 16)


def test_a_wrong_rounding_of_a_tile_is_found() -> None:
    """The same operators with float32 rounding give other bytes than LiteRT."""
    op, real = layer(CASES[0])
    graph = tiled(op, form_of(op, real))
    data, inputs = file_of(graph), random_inputs(graph, 0)
    for part in graph.operators:
        if part.name == "q.linear_conv":
            part.attributes["rounding"] = "float32"
    assert (litert(data, inputs)["y"] != run(graph, inputs)["y"]).any()


@pytest.mark.parametrize("case", CASES)
def test_a_tile_is_near_the_convolution(case: Case) -> None:
    """On data that its scales were not chosen on; without scales for each tap it is farther."""
    op, real = layer(case._replace(pads=(0,) * 4))
    form, x = form_of(op, real), bytes_like((4, case.shape[1], 12, 12), 2)
    windows = np.lib.stride_tricks.sliding_window_view((x.astype(float) - ZERO) * SCALE, (3, 3), (2, 3))
    exact, scale = np.einsum("mcij,nchwij->nmhw", real, windows), op["scales"][0]
    patches = Patches(x, None, np.clip(exact, (case.limits[0] - 128) * scale, 127 * scale))
    assert tile_sqnr(op, form, patches) > 25
    worse = form._replace(numbers=np.full_like(form.numbers, 127))
    assert tile_sqnr(op, worse, patches) < tile_sqnr(op, form, patches)


# Whole networks --------------------------------------------------------------------------------------

NODES = "h = Conv <pads = [1, 1, 1, 1]> (x, w1, b1) r = Relu (h) y = Conv <pads = [1, 1, 1, 1]> (r, w2, b1)"


def wide(path: Path) -> Path:
    weights = {"w1": (96, 3, 3, 3), "w2": (96, 96, 3, 3), "b1": (96,)}
    onnx.save(network(NODES, weights, "float[1,3,8,8] x"), path)
    return path


def test_layers_take_tiles_where_they_gain(tmp_path: Path) -> None:
    """The wide layer on a core; the chip's depthwise convolutions are too slow for it."""
    model = wide(tmp_path / "m.onnx")
    for target, taken in (("litert", [False, True]), ("edgetpu", [False, False])):
        path = tmp_path / f"{target}.tflite"
        made = secateur.compile(model, path, target, quantize=Int8("random:2", winograd="2"))
        assert made.quantization is not None
        assert [tile.taken for tile in made.quantization.tiles] == taken
        assert all(tile.faster == tile.taken for tile in made.quantization.tiles)
        kinds = [op.kind for op in read_contents(path).operators]
        assert kinds.count("DEPTHWISE_CONV_2D") == 20 * sum(taken)
        assert "TRANSPOSE" not in kinds
        check_agrees(made.graph, target=target)


@pytest.mark.parametrize("limits", [{"layer_sqnr": 90.0}, {"min_sqnr": 34.0}])
def test_limits_keep_tiles_out(limits: dict[str, float], tmp_path: Path) -> None:
    given = Int8("random:2", winograd="2", layer_sqnr=limits.get("layer_sqnr", 20.0))
    made = secateur.compile(
        wide(tmp_path / "m.onnx"), tmp_path / "m.tflite", "litert", quantize=given,
        limits=Limits(min_sqnr=limits.get("min_sqnr")),
    )  # fmt: skip
    assert made.quantization is not None
    (tile,) = (t for t in made.quantization.tiles if t.faster)
    assert not tile.taken
    assert tile.tile_sqnr is not None


def test_other_tiles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"Winograd tiles of 2x2 alone \(--winograd 2\)"):
        secateur.compile(
            wide(tmp_path / "m.onnx"),
            tmp_path / "m.tflite",
            "litert",
            quantize=Int8("random:2", winograd="4"),
        )
    assert not (tmp_path / "m.tflite").exists()
