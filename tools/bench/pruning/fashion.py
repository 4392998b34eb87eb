"""The network and the images of the comparison: `examples/fashion`."""

from __future__ import annotations

from functools import cache
from types import ModuleType
from typing import Any

import torch

from secateur.ir.errors import SecateurError
from secateur.tools import examples
from secateur.train.data import Augmentation, Labelled

EXAMPLE = examples.EXAMPLES / "fashion"
MODEL = EXAMPLE / "resnet20.onnx"
CALIBRATION = EXAMPLE / "calibration.npz"


@cache
def example() -> ModuleType:
    """`examples/fashion/data.py`; SecateurError where there is no checkout, or no images."""
    module = examples.example("fashion")
    if not module.is_installed():
        raise SecateurError("Fashion-MNIST is missing. On Debian: apt-get install dataset-fashion-mnist")
    return module


@cache
def training() -> Labelled:
    """The 60,000 images."""
    return _labelled(example().load_training())


@cache
def test() -> Labelled:
    """The 10,000 images on which accuracy is measured."""
    return _labelled(example().load_test())


def augmentation() -> Augmentation:
    """As the network was trained: moved by up to two pixels, half of the images mirrored."""
    return Augmentation(shift=2, flip=True, fill=example().BLACK)


def _labelled(images: Any) -> Labelled:
    pixels = example().network_input(images.images)
    return Labelled(torch.from_numpy(pixels), torch.from_numpy(images.labels))
