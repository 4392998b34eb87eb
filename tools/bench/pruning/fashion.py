"""The network and the images of the comparison: `examples/fashion`."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from secateur.ir.errors import SecateurError
from secateur.train.data import Augmentation, Labelled

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "fashion"
MODEL = EXAMPLE / "resnet20.onnx"
CALIBRATION = EXAMPLE / "calibration.npz"


@cache
def example() -> ModuleType:
    """`examples/fashion/data.py`; SecateurError where there is no checkout, or no images."""
    path = EXAMPLE / "data.py"
    spec = importlib.util.spec_from_file_location("secateur_example_fashion", path)
    if spec is None or spec.loader is None or not path.exists():
        raise SecateurError(f"{EXAMPLE} is missing; the comparison runs from a checkout of the repository")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
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
