"""DepGraph (Fang et al., 2023) by its authors' package `torch-pruning`, on the same trained weights.

The network is written as PyTorch modules whose parameters are called as the initializers of the ONNX model,
so that what is left of them makes the pruned model.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn.functional import relu

from .fashion import example

ROUND_TO = (8, 4, 2)
"""Of which numbers of filters are multiples; less where that stops too early: no layer is cut below it."""
STEPS = 400
"""Rates that are tried, rising, until few enough multiplications are left."""


class _Block(nn.Module):
    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.downsample: nn.Module | None = None
        if stride != 1 or channels != filters:
            self.downsample = nn.Sequential()
            self.downsample.add_module("conv", nn.Conv2d(channels, filters, 1, stride, bias=False))
            self.downsample.add_module("bn", nn.BatchNorm2d(filters))

    def forward(self, x: Tensor) -> Tensor:
        carried = x if self.downsample is None else self.downsample(x)
        inner = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(inner)) + carried)


def _stage(channels: int, filters: int, stride: int) -> nn.Sequential:
    stage = nn.Sequential()
    for number in range(3):
        first = number == 0
        block = _Block(channels if first else filters, filters, stride if first else 1)
        stage.add_module(f"block{number}", block)
    return stage


class ResNet20(nn.Module):
    """The network of `examples/fashion`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1, self.layer2, self.layer3 = _stage(16, 16, 1), _stage(16, 32, 2), _stage(32, 64, 2)
        self.fc = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layer3(self.layer2(self.layer1(relu(self.bn1(self.conv1(x))))))
        answers: Tensor = self.fc(x.mean(dim=(2, 3)))
        return answers


def pruned(model: Path, macs: float) -> onnx.ModelProto:
    """The model with at most the share `macs` of its multiplications, by group L2 norms, in one shot."""
    import torch_pruning as tp

    source = onnx.load(model)
    image = torch.zeros(1, 1, example().SIDE, example().SIDE)
    whole, _ = tp.utils.count_ops_and_params(loaded(source), image)
    for round_to, step in product(ROUND_TO, range(1, STEPS)):
        network = loaded(source)
        pruner = tp.pruner.MetaPruner(
            network,
            image,
            importance=tp.importance.GroupMagnitudeImportance(p=2),
            pruning_ratio=step / STEPS,
            ignored_layers=[network.fc],
            round_to=round_to,
        )
        pruner.step()
        if tp.utils.count_ops_and_params(network, image)[0] <= macs * whole:
            return _written(source, network)
    raise ValueError(f"no rate leaves {macs:.0%} of the multiplications")


def loaded(source: onnx.ModelProto) -> ResNet20:
    """The network with the model's weights."""
    network = ResNet20()
    network.eval()
    arrays = {i.name: torch.from_numpy(numpy_helper.to_array(i).copy()) for i in source.graph.initializer}
    state = {name: arrays.get(name, tensor) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    return network


def _written(source: onnx.ModelProto, network: nn.Module) -> onnx.ModelProto:
    """The model with the network's weights in place of its own."""
    model = onnx.ModelProto()
    model.CopyFrom(source)
    state = network.state_dict()
    for initializer in model.graph.initializer:
        if initializer.name in state:
            array = state[initializer.name].numpy()
            initializer.CopyFrom(numpy_helper.from_array(array, initializer.name))
    del model.graph.value_info[:]
    return model
