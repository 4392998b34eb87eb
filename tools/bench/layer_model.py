"""One convolution layer, from int8 in to int8 out, as ONNX that every engine reads; the same in float32.

Input and output of the int8 model are uint8 themselves, so that no engine can leave a conversion to
float inside its layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from secateur.tools.bench.data import smooth_noise
from secateur.tools.bench.peers import Floats

CALIBRATION_PIXELS = 64 * 28 * 28  # as many samples as have so many, within these limits
FEWEST_SAMPLES, MOST_SAMPLES = 4, 64
INPUT, OUTPUT = "input", "output"
LEVELS = 255


@dataclass(frozen=True)
class Layer:
    """A 3x3 convolution of stride 1 and padding 1, then ReLU, on `side` x `side` pixels."""

    inputs: int
    outputs: int
    side: int

    def __str__(self) -> str:
        channels = str(self.inputs) if self.inputs == self.outputs else f"{self.inputs}→{self.outputs}"
        return f"{channels}x{self.side}x{self.side}"

    @property
    def samples(self) -> int:
        """How many inputs to calibrate on: small images hold few tiles each."""
        return min(max(CALIBRATION_PIXELS // self.side**2, FEWEST_SAMPLES), MOST_SAMPLES)

    @property
    def macs(self) -> int:
        return 9 * self.inputs * self.outputs * self.side**2


class LayerModel:
    """`layer` with seeded weights, scales from calibration, and an input of the same kind not calibrated on.

    Activations are smooth noise after a ReLU, so neighbours are correlated and half of them zero. They are
    stored as uint8 with zero point 0, weights as int8 with a scale for each output channel.
    """

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        shape = (layer.outputs, layer.inputs, 3, 3)
        deviation = np.sqrt(2 / (9 * layer.inputs))
        self.weight = (deviation * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
        self.samples = [self._activations(seed) for seed in range(1, layer.samples + 1)]
        self.x = self._activations(0)
        self.scale_x = _scale(self.samples)

    def _activations(self, seed: int) -> Floats:
        layer = self.layer
        return np.maximum(smooth_noise((1, layer.inputs, layer.side, layer.side), seed), np.float32(0))

    def stored(self, x: Floats) -> NDArray[np.uint8]:
        """Activations as the int8 model takes them."""
        return np.asarray(np.clip(np.rint(x / self.scale_x), 0, LEVELS), np.uint8)

    def real(self, y: NDArray[np.uint8]) -> Floats:
        """Results of the int8 model as real numbers."""
        return y.astype(np.float32) * self.scale_y

    def float_model(self) -> onnx.ModelProto:
        """Convolution and ReLU in float32."""
        nodes = [_conv([INPUT, "weight"]), helper.make_node("Relu", ["sum"], [OUTPUT], "relu")]
        return self._model(nodes, {"weight": self.weight}, TensorProto.FLOAT)

    def int8_model(self) -> onnx.ModelProto:
        """The same between DequantizeLinear and QuantizeLinear."""
        zero = np.uint8(0)
        nodes = [
            helper.make_node("DequantizeLinear", [INPUT, "scale_x", "zero"], ["x"], "dequantize"),
            helper.make_node("DequantizeLinear", ["stored", "scale_w", "zeros"], ["w"], "weights", axis=0),
            _conv(["x", "w"]),
            helper.make_node("Relu", ["sum"], ["real"], "relu"),
            helper.make_node("QuantizeLinear", ["real", "scale_y", "zero"], [OUTPUT], "quantize"),
        ]
        scale_w = np.abs(self.weight).max(axis=(1, 2, 3)) / np.float32(127)
        stored = np.rint(self.weight / scale_w[:, None, None, None]).astype(np.int8)
        constants = {
            "scale_x": self.scale_x,
            "scale_w": scale_w,
            "scale_y": self.scale_y,
            "stored": stored,
            "zero": zero,
            "zeros": np.zeros(len(scale_w), np.int8),
        }
        return self._model(nodes, constants, TensorProto.UINT8)

    def compute(self, x: Floats) -> Floats:
        """The float layer's result, by ONNX Runtime."""
        return np.asarray(self._session.run(None, {INPUT: x})[0])

    @cached_property
    def scale_y(self) -> np.float32:
        return _scale([self.compute(x) for x in self.samples])

    @cached_property
    def _session(self) -> Any:
        model = self.float_model().SerializeToString()
        return import_module("onnxruntime").InferenceSession(model, providers=["CPUExecutionProvider"])

    def _model(self, nodes: list[onnx.NodeProto], constants: dict[str, object], kind: int) -> onnx.ModelProto:
        side, channels = self.layer.side, (self.layer.inputs, self.layer.outputs)
        ports = [
            helper.make_tensor_value_info(name, kind, [1, c, side, side])
            for name, c in zip((INPUT, OUTPUT), channels, strict=True)
        ]
        stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
        graph = helper.make_graph(nodes, "layer", ports[:1], ports[1:], stored)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        return model


def _scale(values: list[Floats]) -> np.float32:
    """The scale at which the largest of `values`, none below 0, takes the last level."""
    return np.float32(max(v.max() for v in values) / LEVELS)


def _conv(operands: list[str]) -> onnx.NodeProto:
    return helper.make_node("Conv", operands, ["sum"], "layer", kernel_shape=[3, 3], pads=[1] * 4)
