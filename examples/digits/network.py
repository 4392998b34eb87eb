"""ResNet-20 for 3x32x32 inputs (He et al., "Deep Residual Learning", 2015, section 4.2), in PyTorch.

Three stages of three basic blocks with 16, 32 and 64 channels. The shortcut of a block that changes the shape
is a 1x1 convolution and batch normalization (option B of the paper).
"""

from collections import OrderedDict
from typing import Final

from torch import Tensor, nn
from torch.nn.functional import relu

STAGE_CHANNELS: Final = (16, 32, 64)
BLOCKS_PER_STAGE: Final = 3


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs, 1)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = projection(inputs, outputs, stride) if inputs != outputs or stride != 1 else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(y)) + shortcut)


class ResNet20(nn.Module):
    """float32 [N, 3, 32, 32] -> logits, float32 [N, classes]."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        first, *_, last = STAGE_CHANNELS
        self.conv1 = conv3x3(3, first, 1)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = stage(first, STAGE_CHANNELS[0], 1)
        self.layer2 = stage(STAGE_CHANNELS[0], STAGE_CHANNELS[1], 2)
        self.layer3 = stage(STAGE_CHANNELS[1], STAGE_CHANNELS[2], 2)
        self.fc = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(x.mean(dim=(2, 3)))
        return logits


def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Basic blocks named block0, block1, ...; the first one changes channels and resolution."""
    shapes = [(inputs, stride)] + [(outputs, 1)] * (BLOCKS_PER_STAGE - 1)
    blocks = (BasicBlock(channels, outputs, step) for channels, step in shapes)
    return nn.Sequential(OrderedDict((f"block{i}", block) for i, block in enumerate(blocks)))


def projection(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """The shortcut that matches a block's new shape: a strided 1x1 convolution, normalized."""
    conv = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, bn=nn.BatchNorm2d(outputs)))


def conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    """A 3x3 convolution with padding 1 and without bias, which the batch normalization brings."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
