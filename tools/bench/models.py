"""The convolutional networks of the benchmark, built as ONNX with seeded weights.

The architectures are those of torchvision (inference form: no dropout, no auxiliary heads), at
batch 1; parameter and multiply-accumulate counts equal the published ones. Batch normalization
is left standing as its own operator, because removing it is the compiler's work.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import onnx

from secateur.ir.support.atomic import write_whole
from secateur.tools.bench import model_builder
from secateur.tools.bench.model_builder import GraphBuilder, Value

CLASSES = 1000


def names() -> tuple[str, ...]:
    """The models that `build` knows."""
    return tuple(_MODELS)


def build(name: str, seed: int = 0, side: int | None = None) -> onnx.ModelProto:
    """The model `name`: opset 17, one input `input` and one output `output` (logits), float32.

    The same name and seed give the same weights; `side` is the image's where it is not the published one.
    ValueError names the known models.
    """
    if name not in _MODELS:
        raise ValueError(f"unknown model '{name}'; known: {', '.join(_MODELS)}")
    published, network = _MODELS[name]
    side = side or published
    builder = GraphBuilder(name, (1, 3, side, side), seed)
    return builder.finish(network(builder))


def save(name: str, folder: Path, seed: int = 0) -> Path:
    """Path of the model's file in `folder`, built unless this version of it is there already."""
    path = folder / f"{name}-s{seed}-{_version()}.onnx"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(path, build(name, seed).SerializeToString())
    return path


def parameters(model: onnx.ModelProto) -> int:
    """Learned parameters: every initializer but the running statistics of batch normalization."""
    running = {name for n in model.graph.node if n.op_type == "BatchNormalization" for name in n.input[3:5]}
    return sum(math.prod(w.dims) for w in model.graph.initializer if w.name not in running)


def macs(model: onnx.ModelProto) -> int:
    """Multiply-accumulates of one inference: convolutions and dense layers, as papers count them."""
    weights = {w.name: tuple(w.dims) for w in model.graph.initializer}
    shapes = {
        v.name: tuple(d.dim_value for d in v.type.tensor_type.shape.dim)
        for v in [*model.graph.value_info, *model.graph.output]
    }
    total = 0
    for node in model.graph.node:
        if node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]]) * math.prod(weights[node.input[1]][1:])
        elif node.op_type == "Gemm":
            total += math.prod(weights[node.input[1]])
    return total


def _version() -> str:
    sources = (Path(__file__), Path(model_builder.__file__))
    return hashlib.sha256(b"".join(p.read_bytes() for p in sources)).hexdigest()[:8]


# ---- shared pieces


def _conv_norm(
    g: GraphBuilder,
    x: Value,
    conv: str,
    norm: str,
    channels: int,
    kernel: int,
    stride: int = 1,
    gain: float = 1.0,
    groups: int = 1,
    eps: float = 1e-5,
) -> Value:
    """Convolution with the padding that keeps the size at stride 1, then batch normalization."""
    y = g.conv(x, conv, channels, kernel, stride, kernel // 2, groups)
    return g.batch_norm(y, norm, eps, gain)


def _classifier(g: GraphBuilder, x: Value, path: str, classes: int = CLASSES) -> Value:
    return g.linear(g.flatten(g.global_average_pool(x, "avgpool")), path, classes)


# ---- ResNet (He et al. 2015, "Deep Residual Learning for Image Recognition")

_BRANCH_GAIN = 0.5  # the last normalization of a branch is small in trained networks; sums stay bounded


def _basic_block(g: GraphBuilder, x: Value, path: str, width: int, stride: int) -> Value:
    y = _conv_norm(g, x, f"{path}.conv1", f"{path}.bn1", width, 3, stride)
    y = g.relu(y, f"{path}.relu")
    y = _conv_norm(g, y, f"{path}.conv2", f"{path}.bn2", width, 3, gain=_BRANCH_GAIN)
    return _close_residual(g, x, y, path, stride)


def _bottleneck(g: GraphBuilder, x: Value, path: str, width: int, stride: int) -> Value:
    """The form of torchvision: the stride lies in the 3x3 convolution."""
    y = g.relu(_conv_norm(g, x, f"{path}.conv1", f"{path}.bn1", width, 1), f"{path}.relu")
    y = g.relu(_conv_norm(g, y, f"{path}.conv2", f"{path}.bn2", width, 3, stride), f"{path}.relu")
    y = _conv_norm(g, y, f"{path}.conv3", f"{path}.bn3", 4 * width, 1, gain=_BRANCH_GAIN)
    return _close_residual(g, x, y, path, stride)


def _close_residual(g: GraphBuilder, x: Value, y: Value, path: str, stride: int) -> Value:
    if x.shape != y.shape:
        shortcut = f"{path}.downsample"
        x = _conv_norm(g, x, f"{shortcut}.0", f"{shortcut}.1", y.channels, 1, stride)
    return g.relu(g.add(y, x, path), f"{path}.relu")


Block = Callable[[GraphBuilder, Value, str, int, int], Value]


def _stages(g: GraphBuilder, x: Value, block: Block, depths: tuple[int, ...], width: int) -> Value:
    for stage, depth in enumerate(depths):
        for i in range(depth):
            stride = 2 if stage > 0 and i == 0 else 1
            x = block(g, x, f"layer{stage + 1}.{i}", width << stage, stride)
    return x


def _resnet(block: Block, depths: tuple[int, ...]) -> Callable[[GraphBuilder], Value]:
    def network(g: GraphBuilder) -> Value:
        x = g.relu(_conv_norm(g, g.input, "conv1", "bn1", 64, 7, 2), "relu")
        x = g.max_pool(x, "maxpool", 3, 2, 1)
        return _classifier(g, _stages(g, x, block, depths, 64), "fc")

    return network


def _resnet20(g: GraphBuilder) -> Value:
    """The CIFAR form: 32x32, three stages of three blocks, projections where the shape changes."""
    x = g.relu(_conv_norm(g, g.input, "conv1", "bn1", 16, 3), "relu")
    return _classifier(g, _stages(g, x, _basic_block, (3, 3, 3), 16), "fc", classes=10)


# ---- chains: VGG (Simonyan and Zisserman 2014), AlexNet (Krizhevsky 2014)


def _vgg16(g: GraphBuilder) -> Value:
    x, index = g.input, 0
    for width, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            x = g.conv(x, f"features.{index}", width, 3, pad=1, bias=True)
            x = g.relu(x, f"features.{index + 1}")
            index += 2
        x = g.max_pool(x, f"features.{index}", 2, 2)
        index += 1
    return _dense_head(g, g.average_pool(x, "avgpool", 1, 1), (0, 3, 6))


def _alexnet(g: GraphBuilder) -> Value:
    """The "one weird trick" form: no LRN, no groups."""
    x = g.relu(g.conv(g.input, "features.0", 64, 11, 4, 2, bias=True), "features.1")
    x = g.max_pool(x, "features.2", 3, 2)
    x = g.relu(g.conv(x, "features.3", 192, 5, pad=2, bias=True), "features.4")
    x = g.max_pool(x, "features.5", 3, 2)
    for index, width in ((6, 384), (8, 256), (10, 256)):
        x = g.relu(g.conv(x, f"features.{index}", width, 3, pad=1, bias=True), f"features.{index + 1}")
    x = g.max_pool(x, "features.12", 3, 2)
    return _dense_head(g, g.average_pool(x, "avgpool", 1, 1), (1, 4, 6))


def _dense_head(g: GraphBuilder, x: Value, indices: tuple[int, int, int]) -> Value:
    x = g.flatten(x)
    for index in indices[:2]:
        x = g.relu(g.linear(x, f"classifier.{index}", 4096), f"classifier.{index + 1}")
    return g.linear(x, f"classifier.{indices[2]}", CLASSES)


# ---- GoogLeNet (Szegedy et al. 2014), with batch normalization and, as in torchvision, 3x3 for 5x5

_INCEPTIONS = {
    "inception3a": (64, 96, 128, 16, 32, 32),
    "inception3b": (128, 128, 192, 32, 96, 64),
    "inception4a": (192, 96, 208, 16, 48, 64),
    "inception4b": (160, 112, 224, 24, 64, 64),
    "inception4c": (128, 128, 256, 24, 64, 64),
    "inception4d": (112, 144, 288, 32, 64, 64),
    "inception4e": (256, 160, 320, 32, 128, 128),
    "inception5a": (256, 160, 320, 32, 128, 128),
    "inception5b": (384, 192, 384, 48, 128, 128),
}


def _unit(g: GraphBuilder, x: Value, path: str, channels: int, kernel: int, stride: int = 1) -> Value:
    y = _conv_norm(g, x, f"{path}.conv", f"{path}.bn", channels, kernel, stride, eps=1e-3)
    return g.relu(y, path)


def _inception(g: GraphBuilder, x: Value, path: str) -> Value:
    one, reduce3, three, reduce5, five, pool = _INCEPTIONS[path]
    pooled = g.max_pool(x, f"{path}.branch4.0", 3, 1, 1, ceil=True)
    branches = [
        _unit(g, x, f"{path}.branch1", one, 1),
        _unit(g, _unit(g, x, f"{path}.branch2.0", reduce3, 1), f"{path}.branch2.1", three, 3),
        _unit(g, _unit(g, x, f"{path}.branch3.0", reduce5, 1), f"{path}.branch3.1", five, 3),
        _unit(g, pooled, f"{path}.branch4.1", pool, 1),
    ]
    return g.concat(branches, path)


def _googlenet(g: GraphBuilder) -> Value:
    x = g.max_pool(_unit(g, g.input, "conv1", 64, 7, 2), "maxpool1", 3, 2, ceil=True)
    x = _unit(g, _unit(g, x, "conv2", 64, 1), "conv3", 192, 3)
    x = g.max_pool(x, "maxpool2", 3, 2, ceil=True)
    for path in _INCEPTIONS:
        if path == "inception4a":
            x = g.max_pool(x, "maxpool3", 3, 2, ceil=True)
        if path == "inception5a":
            x = g.max_pool(x, "maxpool4", 2, 2, ceil=True)
        x = _inception(g, x, path)
    return _classifier(g, x, "fc")


# ---- SqueezeNet 1.1 (Iandola et al. 2016)


def _fire(g: GraphBuilder, x: Value, path: str, squeeze: int, expand: int) -> Value:
    x = g.relu(g.conv(x, f"{path}.squeeze", squeeze, 1, bias=True), f"{path}.squeeze_activation")
    one = g.relu(g.conv(x, f"{path}.expand1x1", expand, 1, bias=True), f"{path}.expand1x1_activation")
    three = g.conv(x, f"{path}.expand3x3", expand, 3, pad=1, bias=True)
    return g.concat([one, g.relu(three, f"{path}.expand3x3_activation")], path)


def _squeezenet(g: GraphBuilder) -> Value:
    x = g.relu(g.conv(g.input, "features.0", 64, 3, 2, bias=True), "features.1")
    rows = ((16, 64), (16, 64), None, (32, 128), (32, 128), None, (48, 192), (48, 192), (64, 256), (64, 256))
    x = g.max_pool(x, "features.2", 3, 2, ceil=True)
    for index, row in enumerate(rows, start=3):
        path = f"features.{index}"
        x = g.max_pool(x, path, 3, 2, ceil=True) if row is None else _fire(g, x, path, *row)
    x = g.relu(g.conv(x, "classifier.1", CLASSES, 1, bias=True), "classifier.2")
    return g.flatten(g.global_average_pool(x, "classifier.3"))


# ---- MobileNet-v2 (Sandler et al. 2018)


def _inverted_residual(
    g: GraphBuilder, x: Value, path: str, expansion: int, channels: int, stride: int
) -> Value:
    hidden = x.channels * expansion
    y, step = x, 0
    if expansion != 1:
        y = g.relu6(_conv_norm(g, y, f"{path}.0.0", f"{path}.0.1", hidden, 1), f"{path}.0.2")
        step = 1
    unit = f"{path}.{step}"
    y = g.relu6(_conv_norm(g, y, f"{unit}.0", f"{unit}.1", hidden, 3, stride, groups=hidden), f"{unit}.2")
    residual = stride == 1 and x.channels == channels
    gain = _BRANCH_GAIN if residual else 1.0
    y = _conv_norm(g, y, f"{path}.{step + 1}", f"{path}.{step + 2}", channels, 1, gain=gain)
    return g.add(x, y, path.removesuffix(".conv")) if residual else y


# expansion, channels, blocks, stride of the first block
_MOBILENET_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def _mobilenet_v2(g: GraphBuilder) -> Value:
    x = g.relu6(_conv_norm(g, g.input, "features.0.0", "features.0.1", 32, 3, 2), "features.0.2")
    index = 1
    for expansion, channels, depth, stride in _MOBILENET_STAGES:
        for i in range(depth):
            path = f"features.{index}.conv"
            x = _inverted_residual(g, x, path, expansion, channels, stride if i == 0 else 1)
            index += 1
    x = g.relu6(_conv_norm(g, x, "features.18.0", "features.18.1", 1280, 1), "features.18.2")
    return _classifier(g, x, "classifier.1")


# ---- DenseNet-121 (Huang et al. 2016)

_GROWTH = 32


def _dense_layer(g: GraphBuilder, features: Sequence[Value], path: str) -> Value:
    """What a layer adds to all features before it, which it concatenates itself, as torchvision's do."""
    x = g.concat(features, f"{path}.cat")
    y = g.relu(g.batch_norm(x, f"{path}.norm1"), f"{path}.relu1")
    y = _conv_norm(g, y, f"{path}.conv1", f"{path}.norm2", 4 * _GROWTH, 1)
    return g.conv(g.relu(y, f"{path}.relu2"), f"{path}.conv2", _GROWTH, 3, pad=1)


def _dense_block(g: GraphBuilder, x: Value, path: str, depth: int) -> Value:
    features = [x]
    for i in range(1, depth + 1):
        features.append(_dense_layer(g, features, f"{path}.denselayer{i}"))
    return g.concat(features, f"{path}.cat")


def _densenet121(g: GraphBuilder) -> Value:
    x = g.relu(_conv_norm(g, g.input, "features.conv0", "features.norm0", 64, 7, 2), "features.relu0")
    x = g.max_pool(x, "features.pool0", 3, 2, 1)
    for stage, depth in enumerate((6, 12, 24, 16), start=1):
        x = _dense_block(g, x, f"features.denseblock{stage}", depth)
        if stage < 4:
            x = _transition(g, x, f"features.transition{stage}")
    x = g.relu(g.batch_norm(x, "features.norm5"), "relu")
    return _classifier(g, x, "classifier")


def _transition(g: GraphBuilder, x: Value, path: str) -> Value:
    y = g.relu(g.batch_norm(x, f"{path}.norm"), f"{path}.relu")
    return g.average_pool(g.conv(y, f"{path}.conv", x.channels // 2, 1), f"{path}.pool", 2, 2)


_MODELS: dict[str, tuple[int, Callable[[GraphBuilder], Value]]] = {
    "resnet18": (224, _resnet(_basic_block, (2, 2, 2, 2))),
    "resnet34": (224, _resnet(_basic_block, (3, 4, 6, 3))),
    "resnet50": (224, _resnet(_bottleneck, (3, 4, 6, 3))),
    "vgg16": (224, _vgg16),
    "googlenet": (224, _googlenet),
    "squeezenet1.1": (224, _squeezenet),
    "alexnet": (224, _alexnet),
    "mobilenet-v2": (224, _mobilenet_v2),
    "densenet121": (224, _densenet121),
    "resnet20": (32, _resnet20),
}
