"""SQNR of 3x3 layers in 8 bits, direct and in the Winograd domain: the table of `docs/passes.md`.

Run `python -m tests.passes.winograd.winograd_table`; minutes. Scales are chosen on some images and
errors measured on others, on the real result before it is rounded to 8 bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.graph import Graph, constant_of
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from secateur.ir.registry import create
from secateur.ir.types import DType, Quant, TensorType
from secateur.ir.winograd import winograd
from secateur.passes.quantize.measure import decibels, power
from secateur.passes.winograd.winograd import Options, create_winograd, winograd_form

Array = NDArray[Any]
Tile = tuple[int, int]
TILES: tuple[Tile, ...] = ((2, 2), (4, 2), (4, 4))
MODES = {
    "lance": Options(mode="lance", rounding="nearest"),
    "tap": Options(mode="tap", rounding="nearest"),
    "channel": Options(),
}


@dataclass(frozen=True, eq=False)
class Layer:
    """Patches of stored inputs (N, C, h, w) to choose on and to measure on, and real weights."""

    name: str
    chosen: NDArray[np.uint8]
    measured: NDArray[np.uint8]
    weights: Array


def synthetic(channels: int = 64, images: int = 40, side: int = 26) -> Layer:
    """Rectified smooth noise, correlated between channels of different power."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((images, channels, side + 6, side + 6))
    kernel = np.exp(-(np.arange(-3, 4) ** 2) / 2)
    for axis in (2, 3):
        z = np.stack([k * np.roll(z, i - 3, axis) for i, k in enumerate(kernel)]).sum(0)
    mix = rng.standard_normal((channels, channels)) / np.sqrt(channels)
    z = z[:, :, 3:-3, 3:-3]
    z = (z + np.einsum("ij,njhw->nihw", mix, z)) * np.exp(0.3 * rng.standard_normal((1, channels, 1, 1)))
    weights = rng.standard_normal((channels, channels, 3, 3))
    x = stored(np.maximum(z, 0))
    return Layer("synthetic", x[: images // 2], x[images // 2 :], weights)


def stored(x: Array) -> NDArray[np.uint8]:
    steps: Array = np.rint(x * (255 / np.percentile(x, 99.99)))
    return steps.clip(0, 255).astype(np.uint8)


def direct(layer: Layer) -> Graph:
    """The layer in 8 bits, its result real, on the patches that it is measured on."""
    scales = np.maximum(np.abs(layer.weights).max((1, 2, 3)), 1e-9) / 127
    w = np.rint(layer.weights / scales[:, None, None, None]).astype(np.int8)
    graph = Graph("layer")
    x = graph.add_input(TensorType(layer.measured.shape, DType.U8, quant=Quant((1.0,), (0,))), "x")
    constants = [create("nn.constant", [], {"value": a}) for a in (w, np.zeros(len(w), np.int32))]
    quant = {"scales": tuple(map(float, scales)), "zero_points": (0,) * len(w), "axis": 0}
    weights = create("q.annotate", [constants[0].result], quant)
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "dtype": DType.F32}
    conv = create("q.linear_conv", [x, weights.result, constants[1].result], window)
    for op in (*constants, weights, conv):
        graph.append(op)
    graph.set_outputs([conv.result], ["y"])
    return graph


def with_winograd(layer: Layer, tile: Tile, options: Options) -> Graph:
    graph = direct(layer)
    conv = graph.operators[-1]
    made = create_winograd(conv, winograd_form(conv, layer.weights, tile, layer.chosen, options), tile)
    graph.insert_before(conv, made)
    graph.replace_value(conv.result, made[-1].result)
    graph.remove_dead()
    return graph


def real_result(layer: Layer) -> Array:
    x, w = layer.measured.astype(np.float64), layer.weights
    height, width = x.shape[2] - 2, x.shape[3] - 2
    parts = [
        np.tensordot(w[:, :, i, j], x[:, :, i : i + height, j : j + width], (1, 1))
        for i, j in np.ndindex(3, 3)
    ]
    total: Array = np.sum(parts, axis=0)
    return total.swapaxes(0, 1)


def sqnr(layer: Layer, graph: Graph) -> float:
    want = real_result(layer)
    got = run(graph, {"x": layer.measured})["y"]
    return decibels(power(want), power(got - want))


def textbook(layer: Layer, tile: Tile, whole: bool) -> float:
    """The SQNR at the points 0, +-1, +-2, with one step for all taps or for each, rounded to the nearest."""
    a, g, b = (
        np.kron(*(np.array([[float(v) for v in row] for row in getattr(winograd(m), name)]) for m in tile))
        for name in ("a_t", "g", "b_t")
    )
    d = tiles(layer.measured, tile)
    v, u = (
        np.tensordot(b, d, (1, 0)),
        np.tensordot(g, layer.weights.reshape(*layer.weights.shape[:2], 9), (1, 2)),
    )
    over = None if whole else (1, 2)
    v_step = np.abs(v).max(over, keepdims=True) / 127
    u_step = np.abs(u).max(None if whole else 2, keepdims=True) / 127
    got = (np.rint(u / u_step) * u_step) @ (np.rint(v / v_step) * v_step)
    want, found = (np.tensordot(a, p, (1, 0)) for p in (u @ v, got))
    return decibels(power(want), power(found - want))


def tiles(x: Array, tile: Tile) -> Array:
    """Up to 1500 whole tiles of patches, (positions, C, tiles)."""
    tall, wide = tile[0] + 2, tile[1] + 2
    places = range(0, x.shape[2] - tall + 1, tile[0]), range(0, x.shape[3] - wide + 1, tile[1])
    parts = [x[:, :, i : i + tall, j : j + wide] for i in places[0] for j in places[1]]
    found = np.concatenate(parts).astype(np.float64)
    few = found[:: -(-len(found) // 1500)]
    return few.reshape(*few.shape[:2], -1).transpose(2, 1, 0)


def layers_of(path: Path, images: list[Array], names: tuple[int, ...], most: int = 26) -> Iterator[Layer]:
    """Some of the 3x3 layers of stride 1 of a network, by their number, on patches of real activations."""
    graph = read_model(path)
    convs = [op for op in graph.operators if op.name == "nn.conv"]
    chosen = {i: constant_of(convs[i].operands[1]) for i in names}
    graph.set_outputs([convs[i].operands[0] for i in names], [f"{i}" for i in names])
    graph.remove_dead()
    found = [run(graph, {graph.inputs[0].name: image}) for image in images]
    rng = np.random.default_rng(0)
    for i, weights in chosen.items():
        x = stored(np.concatenate([np.pad(f[f"{i}"], [(0, 0), (0, 0), (1, 1), (1, 1)]) for f in found]))
        top, left = (int(rng.integers(0, max(1, e - most + 1))) for e in x.shape[2:])
        patches = x[:, :, top : top + most, left : left + most]
        assert weights is not None, "a network's weights are constant"
        half, name = (
            len(x) // 2,
            f"{path.stem.split('-')[0]} {i}: {weights.shape[1]} x {found[0][f'{i}'].shape[2]}",
        )
        yield Layer(name, patches[:half], patches[half:], weights[:64])


def row(layer: Layer) -> dict[str, float]:
    """dB by method, in the order of the table."""
    found = {"direct": sqnr(layer, direct(layer))}
    for tile in TILES:
        name = f"{tile[0]}x{tile[1]}"
        for points, whole in (("textbook, tensor", True), ("textbook, tap", False)):
            found[f"{name} {points}"] = textbook(layer, tile, whole)
        for mode, options in MODES.items():
            found[f"{name} {mode}"] = sqnr(layer, with_winograd(layer, tile, options))
    return found


def smooth_images(count: int, side: int) -> list[Array]:
    """Noise whose power falls with the frequency as in photographs: (1, 3, side, side) each."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    noise = [rng.standard_normal((1, 3, side, side)) for _ in range(count)]
    images = [np.fft.irfft2(np.fft.rfft2(n) / frequency, s=(side, side)) for n in noise]
    return [(image / image.std()).astype(np.float32) for image in images]


def digits() -> tuple[Path, list[Array]]:
    """The trained network of the examples, and images of its calibration data."""
    folder = Path(__file__).parents[3] / "examples" / "digits"
    raw = np.load(folder / "calibration.npz")["images"][:48].astype(np.float32) / 16
    large = np.repeat(np.repeat(raw, 4, axis=1), 4, axis=2)[:, None]
    normal = (large - 0.305) / 0.323
    return folder / "resnet20.onnx", [np.repeat(image[None], 3, axis=1) for image in normal]


def all_layers(cache: Path) -> Iterator[Layer]:
    from secateur.tools.bench import models

    yield synthetic()
    yield from layers_of(*digits(), (1, 10, 18))
    yield from layers_of(models.save("resnet18", cache), smooth_images(12, 224), (1, 6, 11))
    yield from layers_of(models.save("vgg16", cache), smooth_images(6, 224), (1, 3, 5))


def main() -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        for layer in all_layers(Path(folder)):
            print(layer.name, *(f"{name}: {value:.1f}" for name, value in row(layer).items()), sep="\n  ")


if __name__ == "__main__":
    main()
