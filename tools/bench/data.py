"""The networks of the int8 benchmark, and the inputs that engines calibrate and are measured on.

Seeded networks see images of noise whose amplitude falls with frequency as in photographs (Field 1987,
"Relations between the statistics of natural images and the response properties of cortical cells"):
neighbouring pixels agree, which matters to Winograd's transforms. The trained one sees its digits.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx

from secateur.tools.bench import models
from secateur.tools.bench.peers import Floats
from secateur.tools.examples import EXAMPLES, example

EXAMPLE = EXAMPLES / "digits"
TRAINED = "digits-resnet20"
CALIBRATION_SAMPLES, HELD_OUT_SAMPLES = 32, 4
TRAINED_HELD_OUT = 64


class Inputs(NamedTuple):
    """`calibration`: an `.npz` of one array, float32 [samples, C, H, W]; `held_out`: each [1, C, H, W]."""

    calibration: Path
    held_out: list[Floats]


def names() -> tuple[str, ...]:
    """The networks that there are; the trained one needs a checkout of the repository."""
    return (*models.names(), *([TRAINED] if EXAMPLE.exists() else []))


def network(name: str, folder: Path) -> Path:
    """The ONNX file of `name`, below `folder` where it has to be made."""
    if name != TRAINED:
        return models.save(name, folder)
    path = folder / f"{TRAINED}.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes((EXAMPLE / "resnet20.onnx").read_bytes())
    return path


def inputs(name: str, path: Path) -> Inputs:
    """What engines calibrate the network `path` on, kept in a folder beside it, and are measured on.

    Peers keep their quantized networks in that folder; Secateur's are removed from it.
    """
    port = onnx.load(path, load_external_data=False).graph.input[0]
    shape = tuple(d.dim_value for d in port.type.tensor_type.shape.dim)
    samples, held_out = _digits() if name == TRAINED else _noise(shape)
    folder = path.parent / f"{path.stem}-int8-{_version(path)}"
    folder.mkdir(exist_ok=True)
    for artifact in folder.glob("*.so"):
        artifact.unlink()
    calibration = folder / "calibration.npz"
    np.savez(calibration, allow_pickle=False, **{port.name: samples})
    return Inputs(calibration, [x[None] for x in held_out])


def smooth_noise(shape: tuple[int, ...], seed: int) -> Floats:
    """Noise of amplitude 1 / frequency along the last two axes; every plane has mean 0 and variance 1."""
    height, width = shape[-2:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf
    spectrum = np.fft.rfft2(np.random.default_rng(seed).standard_normal(shape)) / frequency
    planes = np.fft.irfft2(spectrum, (height, width))
    return np.asarray(planes / planes.std(axis=(-2, -1), keepdims=True), np.float32)


def _noise(shape: tuple[int, ...]) -> tuple[Floats, Floats]:
    sample = shape[1:]
    return smooth_noise((CALIBRATION_SAMPLES, *sample), 1), smooth_noise((HELD_OUT_SAMPLES, *sample), 2)


def _digits() -> tuple[Floats, Floats]:
    data = example("digits")
    calibration, held_out = data.load_calibration(), data.load_heldout()
    return data.network_input(calibration.images), data.network_input(held_out.images[:TRAINED_HELD_OUT])


def _version(path: Path) -> str:
    """Of the network and of this file: quantized models made from others are not used."""
    return hashlib.sha256(path.read_bytes() + Path(__file__).read_bytes()).hexdigest()[:8]
