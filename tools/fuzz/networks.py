"""Random convolutional networks whose channels depend on each other in every way that networks know."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import numpy as np

from secateur.ir.elementwise import Step
from secateur.ir.graph import Graph, Value
from secateur.ir.registry import create
from secateur.ir.types import TensorType

ACTIVATIONS = ("relu", "sigmoid", "tanh", "hard_swish", "leaky_relu", "silu", "clip")
WIDTHS = (4, 6, 8, 12)
BLOCKS = (
    "plain",
    "residual",
    "projected",
    "inception",
    "dense",
    "depthwise",
    "grouped",
    "shuffled",
    "split",
    "strided",
    "picked",
    "squeezed",
    "attended",
    "upsampled",
    "resized",
    "padded",
    "spread",
    "normalized",
    "mixed",
    "reused",
    "pool",
)
"""Methods of `Network`, each an image to an image."""


class Network:
    """A graph under construction; every block takes an image value and gives one, of a random choice."""

    def __init__(self, seed: int, side: int = 8) -> None:
        self.random = Random(seed)
        self.noise = np.random.default_rng(seed)
        self.graph = Graph()
        self.input = self.graph.add_input(TensorType((1, 3, side, side)), "x")
        self.count = 0

    # operators

    def add(self, name: str, operands: Sequence[Value], **attributes: Any) -> Value:
        self.count += 1
        return self.graph.append(create(f"nn.{name}", operands, attributes, f"{name}{self.count}")).result

    def constant(self, *shape: int, scale: float = 1.0, positive: bool = False) -> Value:
        array = self.noise.standard_normal(shape) * scale
        value = self.add(
            "constant", [], value=(np.abs(array) + 0.5 if positive else array).astype(np.float32)
        )
        value.name = f"w{self.count}"
        return value

    def width(self) -> int:
        return self.random.choice(WIDTHS)

    def conv(self, x: Value, width: int, kernel: int = 1, groups: int = 1, stride: int = 1) -> Value:
        fan_in = x.type.shape[1] // groups * kernel * kernel
        w = self.constant(width, x.type.shape[1] // groups, kernel, kernel, scale=fan_in**-0.5)
        pads = (kernel // 2,) * 4
        window: dict[str, Any] = {"strides": (stride,) * 2, "pads": pads, "dilations": (1, 1)}
        if self.random.random() < 0.5:
            return self.add("conv", [x, w], groups=groups, **window)
        bias = self.constant(1, width, 1, 1)
        return self.add("conv", [x, w, bias], groups=groups, epilogue=(Step("add"), Step("relu")), **window)

    def norm(self, x: Value) -> Value:
        c = x.type.shape[1]
        constants = [self.constant(c), self.constant(c), self.constant(c, scale=0.3)]
        return self.add("batch_norm", [x, *constants, self.constant(c, positive=True)])

    def activation(self, x: Value) -> Value:
        name = self.random.choice((*ACTIVATIONS, "prelu"))
        if name == "prelu":
            return self.add("prelu", [x, self.constant(x.type.shape[1], 1, 1)])
        return self.add(name, [x], **({"min": 0.0, "max": 6.0} if name == "clip" else {}))

    def unit(self, x: Value, width: int, kernel: int = 3) -> Value:
        return self.activation(self.norm(self.conv(x, width, kernel)))

    # blocks

    def plain(self, x: Value) -> Value:
        return self.unit(x, self.width(), self.random.choice((1, 3)))

    def residual(self, x: Value) -> Value:
        y = self.conv(self.unit(x, self.width()), x.type.shape[1], 3)
        return self.activation(self.add(self.random.choice(("add", "add", "mul", "max")), [y, x]))

    def projected(self, x: Value) -> Value:
        width = self.width()
        return self.add("add", [self.norm(self.conv(self.unit(x, 6), width, 3)), self.conv(x, width)])

    def inception(self, x: Value) -> Value:
        branches = [self.unit(x, self.width(), self.random.choice((1, 3))) for _ in range(2)]
        return self.concat([*branches, self.pool(x)] if self.random.random() < 0.5 else branches)

    def dense(self, x: Value) -> Value:
        """Two layers that add to what they see."""
        for _ in range(2):
            x = self.concat([x, self.conv(self.activation(self.norm(x)), 4, 3)])
        return x

    def concat(self, values: Sequence[Value]) -> Value:
        return self.add("concat", list(values), axis=1)

    def pool(self, x: Value) -> Value:
        window: dict[str, Any] = {"strides": (1, 1), "pads": (1,) * 4, "dilations": (1, 1)}
        return self.add(self.random.choice(("max_pool", "average_pool")), [x], kernel=(3, 3), **window)

    def depthwise(self, x: Value) -> Value:
        width = x.type.shape[1]
        multiplier = self.random.choice((1, 1, 2))
        return self.conv(self.norm(self.conv(x, multiplier * width, 3, width)), self.width())

    def grouped(self, x: Value) -> Value:
        groups = 2 if x.type.shape[1] % 2 == 0 else 1
        return self.conv(x, self.width(), 3, groups)

    def shuffled(self, x: Value) -> Value:
        """A ShuffleNet block."""
        width, (_, _, h, w) = 8, x.type.shape
        y = self.activation(self.conv(self.conv(x, width), width, 1, 2))
        y = self.add("reshape", [y], shape=(1, 2, width // 2, h, w))
        y = self.add("transpose", [y], perm=(0, 2, 1, 3, 4))
        y = self.add("reshape", [y], shape=(1, width, h, w))
        return self.conv(self.norm(self.conv(y, width, 3, width)), width, 1, 2)

    def split(self, x: Value) -> Value:
        """Half of the channels pass by."""
        c = x.type.shape[1]
        low, high = self.slice(x, 0, c // 2), self.slice(x, c // 2, c - c // 2)
        return self.concat([low, self.unit(high, self.width())])

    def slice(self, x: Value, start: int, size: int, step: int = 1) -> Value:
        n, _, h, w = x.type.shape
        return self.add("slice", [x], starts=(0, start, 0, 0), sizes=(n, size, h, w), steps=(1, step, 1, 1))

    def strided(self, x: Value) -> Value:
        """Every second channel, or all backwards."""
        c = x.type.shape[1]
        return self.slice(x, 0, c // 2, 2) if self.random.random() < 0.5 else self.slice(x, c - 1, c, -1)

    def picked(self, x: Value) -> Value:
        """Channels in another order, some twice."""
        c = x.type.shape[1]
        order = self.noise.integers(0, c, c).astype(np.int64)
        return self.add("gather", [x, self.add("constant", [], value=order)], axis=1)

    def squeezed(self, x: Value) -> Value:
        c = x.type.shape[1]
        y = self.add("reduce_mean", [x], axes=(2, 3))
        y = self.activation(self.conv(y, 4))
        return self.add("mul", [x, self.add("sigmoid", [self.conv(y, c)])])

    def attended(self, x: Value) -> Value:
        """A softmax over channels weighs them."""
        y = self.add("softmax", [self.conv(x, x.type.shape[1])], axis=1)
        return self.add("mul", [x, y])

    def upsampled(self, x: Value) -> Value:
        """Up by a transposed convolution, down again by a stride."""
        width = self.width()
        groups = self.random.choice((1, 1, 2))
        w = self.constant(x.type.shape[1], width // groups, 2, 2, scale=0.5)
        window: dict[str, Any] = {"strides": (2, 2), "pads": (0,) * 4, "dilations": (1, 1)}
        if x.type.shape[1] % groups:
            return x
        y = self.add("conv_transpose", [x, w], groups=groups, output_padding=(0, 0), **window)
        return self.conv(self.activation(y), self.width(), 3, stride=2)

    def resized(self, x: Value) -> Value:
        n, c, h, w = x.type.shape
        y = self.add("resize", [x], shape=(n, c, 2 * h, 2 * w), scales=(1.0, 1.0, 2.0, 2.0), mode="linear")
        return self.conv(y, self.width(), 3, stride=2)

    def padded(self, x: Value) -> Value:
        """Around the image, or channels of zeros as in the shortcuts of small ResNets."""
        if self.random.random() < 0.5:
            mode = self.random.choice(("constant", "reflect", "edge"))
            y = self.add("pad", [x], pads=(0, 0, 1, 1, 0, 0, 1, 1), mode=mode)
            return self.conv(y, self.width(), 3, stride=1) if min(y.type.shape[2:]) < 12 else x
        return self.add("pad", [x], pads=(0, 2, 0, 0, 0, 2, 0, 0))

    def spread(self, x: Value) -> Value:
        """Channels to pixels and back."""
        mode = self.random.choice(("DCR", "CRD"))
        y = self.add("depth_to_space", [self.conv(x, 8)], block=2, mode=mode)
        return self.add("space_to_depth", [self.activation(y)], block=2, mode=mode)

    def normalized(self, x: Value) -> Value:
        c = x.type.shape[1]
        if self.random.random() < 0.3:
            return self.add("lrn", [x], size=3)
        return self.add("instance_norm", [x, self.constant(c), self.constant(c)])

    def mixed(self, x: Value) -> Value:
        """Positions mixed by a matrix product, channel by channel, and channels by another (an MLP-mixer)."""
        n, c, h, w = x.type.shape
        y = self.add("reshape", [x], shape=(n, c, h * w))
        y = self.add("matmul", [y, self.constant(h * w, h * w, scale=0.2)])
        y = self.add("transpose", [y], perm=(0, 2, 1))
        y = self.add("matmul", [y, self.constant(c, self.width(), scale=0.5)])
        y = self.add("transpose", [self.activation_of_any(y)], perm=(0, 2, 1))
        return self.add("reshape", [y], shape=(n, y.type.shape[1], h, w))

    def activation_of_any(self, x: Value) -> Value:
        return self.add(self.random.choice(("relu", "tanh")), [x])

    def reused(self, x: Value) -> Value:
        """One filter bank used twice."""
        c = x.type.shape[1]
        w = self.constant(c, c, 1, 1, scale=c**-0.5)
        window: dict[str, Any] = {"strides": (1, 1), "pads": (0,) * 4, "dilations": (1, 1)}
        return self.add("conv", [self.activation(self.add("conv", [x, w], **window)), w], **window)

    def blocks(self) -> tuple[Callable[[Value], Value], ...]:
        return tuple(getattr(self, name) for name in BLOCKS)

    def head(self, x: Value) -> Value:
        """A classifier on the mean or on the flattened image."""
        n, c, h, w = x.type.shape
        if self.random.random() < 0.5:
            y = self.add("reduce_mean", [x], axes=(2, 3), keepdims=False)
        else:
            y = self.add("reshape", [x], shape=(n, c * h * w))
        y = self.add("matmul", [y, self.constant(y.type.shape[1], 6, scale=0.3)])
        return self.add("matmul", [self.activation_of_any(y), self.constant(6, 5)])


def random_network(seed: int) -> Graph:
    """A network of two to six random blocks and a head; some also give an image."""
    network = Network(seed)
    x = network.unit(network.input, 8)
    for _ in range(network.random.randint(2, 6)):
        x = network.random.choice(network.blocks())(x)
        if x.type.shape[1] > 40:
            x = network.conv(x, 8)
    outputs = [network.head(x), *([x] if network.random.random() < 0.15 else [])]
    network.graph.set_outputs(outputs, [f"y{k}" for k in range(len(outputs))])
    network.graph.remove_dead()
    return network.graph
