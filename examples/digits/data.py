"""The handwritten digits as the network sees them; NumPy alone, so that a board or the demo can use it.

A raw digit is 8x8 uint8 with values 0..16 (ink counted in 4x4 blocks of a 32x32 scan). The network's input
is that digit brought back to 32x32, in three equal channels, normalized with `MEAN` and `STD`.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FOLDER: Final = Path(__file__).resolve().parent
RAW_SIDE: Final = 8
SIDE: Final = 32
CHANNELS: Final = 3
CLASSES: Final = 10
INK_MAX: Final = 16
MEAN: Final = 0.305
"""Mean of the training split's upsampled pixels, where white paper is 0 and full ink is 1."""
STD: Final = 0.323
"""Standard deviation of the same pixels."""


class Digits(NamedTuple):
    """A split: `images` uint8 [N, 8, 8] with values 0..16, `labels` int64 [N] with values 0..9."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def load_heldout() -> Digits:
    """The images that training never saw; accuracy is measured on these."""
    return load_split(FOLDER / "heldout.npz")


def load_calibration() -> Digits:
    """A part of the training split, for choosing quantization ranges; never for measuring accuracy."""
    return load_split(FOLDER / "calibration.npz")


def load_split(path: Path) -> Digits:
    """Read a split that `save_split` wrote. Raises ValueError when the file does not hold one."""
    with np.load(path, allow_pickle=False) as arrays:
        missing = {"images", "labels"} - set(arrays.files)
        if missing:
            raise ValueError(f"{path.name}: no array {', '.join(sorted(missing))}")
        digits = Digits(_checked(arrays["images"]), arrays["labels"].astype(np.int64))
    if digits.labels.shape != digits.images.shape[:1]:
        raise ValueError(
            f"{path.name}: {len(digits.images)} images but labels of shape {digits.labels.shape}"
        )
    return digits


def save_split(path: Path, digits: Digits) -> None:
    """Write a split, compressed; equal splits give equal bytes."""
    labels = digits.labels.astype(np.uint8)
    np.savez_compressed(path, images=_checked(digits.images), labels=labels)


def network_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Raw digits, uint8 [N, 8, 8] in 0..16 -> float32 [N, 3, 32, 32], contiguous, normalized.

    Raises ValueError on another shape, dtype or range.
    """
    matrix = _upsampling_matrix(RAW_SIDE, SIDE)
    ink = _checked(images).astype(np.float64) / INK_MAX
    normalized = ((matrix @ ink @ matrix.T - MEAN) / STD).astype(np.float32)
    return np.repeat(normalized[:, None], CHANNELS, axis=1)


def _upsampling_matrix(source: int, target: int) -> npt.NDArray[np.float64]:
    """Bilinear interpolation along one axis as [target, source]; pixel centres at half, edges held."""
    centres = (np.arange(target) + 0.5) * source / target - 0.5
    distance = np.abs(np.clip(centres, 0, source - 1)[:, None] - np.arange(source))
    return np.maximum(0.0, 1.0 - distance)


def _checked(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (RAW_SIDE, RAW_SIDE):
        raise ValueError(f"raw digits must be uint8 [N, 8, 8], got {images.dtype} {list(images.shape)}")
    if images.size and images.max() > INK_MAX:
        raise ValueError(f"raw digits lie in 0..{INK_MAX}, got {images.max()}")
    return images
