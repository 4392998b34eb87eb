"""Quantization-aware training: the network in training computes what its 8-bit form computes."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.interpreter import run
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.quantize.calibrate import CalibrationData
from secateur.passes.quantize.options import Options
from secateur.passes.quantize.quantize import quantized_pairs

from . import tiny

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make test-train installs it")

from secateur.train.loop import Training, accuracy  # noqa: E402
from secateur.train.network import Network  # noqa: E402
from secateur.train.quantized import Aware  # noqa: E402
from secateur.train.recipe import Recipe  # noqa: E402

from .test_loop import labelled  # noqa: E402

OPTIONS = Options(bias_correction=False)
RECIPE = Recipe(epochs=3, batch=32, rate=0.02)


@cache
def trained() -> Graph:
    """The tiny network, trained and fused."""
    network = Network(tiny.graph())
    Training(labelled(320), replace(RECIPE, rate=0.1)).fit(network)
    return Fuse().run(network.graph())


def batches() -> list[dict[str, tiny.Array]]:
    return [{"input": image[None]} for image in tiny.images(40, 5)[0]]


def aware(options: Options = OPTIONS) -> Aware:
    return Aware.of(trained(), CalibrationData(batches()), options)


def in_bytes(aware: Aware, options: Options = OPTIONS) -> Graph:
    return quantized_pairs(aware.learned(), CalibrationData(batches(), aware.ranges), options)[0]


def answers(graph: Graph, images: tiny.Array) -> tiny.Array:
    return np.concatenate([run(graph, {"input": image[None]})["output"] for image in images])


@pytest.mark.parametrize(
    "options", [OPTIONS, replace(OPTIONS, reduce_range=True), replace(OPTIONS, keep_float=("/conv1/Conv",))]
)
@pytest.mark.parametrize("epochs", [0, 1])
def test_training_computes_what_the_8_bit_network_computes(options: Options, epochs: int) -> None:
    """Up to a step here and there, where a sum lies between two: far less than rounding changes at all."""
    network = aware(options)
    if epochs:
        Training(labelled(320), replace(RECIPE, epochs=epochs)).fit(network.network)
    images, _ = tiny.images(24, 9)
    network.network.eval()
    found = network.network({"input": torch.from_numpy(images)})["output"].detach().numpy()
    expected, real = answers(in_bytes(network, options), images), answers(network.learned(), images)
    rounding = np.abs(expected - real).mean()
    assert rounding > 1e-3
    assert np.abs(found - expected).mean() < 0.02 * rounding


def test_what_was_learned_stays_in_8_bits() -> None:
    network, held_out = aware(), labelled(90, 1)
    before = network.learned()
    epochs = Training(labelled(320), RECIPE, held_out).fit(network.network)
    assert epochs[-1].accuracy == accuracy(network.network, held_out) > 0.9
    eight = answers(in_bytes(network), held_out.images.numpy()).argmax(axis=1)
    assert np.mean(eight == held_out.labels.numpy()) == pytest.approx(epochs[-1].accuracy, abs=0.03)
    changed = [
        op.result.name
        for op, old in zip(network.learned().operators, before.operators, strict=True)
        if op.name == "nn.constant" and op["value"].ndim > 1 and (op["value"] != old["value"]).any()
    ]
    assert len(changed) >= 4  # every layer's weights


def test_channels_are_not_balanced_in_between() -> None:
    with pytest.raises(SecateurError, match="channels are balanced before"):
        aware(Options(equalize=True))
