"""Fashion-MNIST as the networks see it; NumPy alone, so that a board can use it.

A raw image is 28x28 uint8, black 0. The networks' input is that image scaled to [0, 1] and normalized with
`MEAN` and `STD`, in one channel. The images are read from Debian's package `dataset-fashion-mnist`.
"""

import gzip
import os
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

FOLDER: Final = Path(__file__).resolve().parent
PACKAGE: Final = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))
"""Where the four files lie: those of the package, or a folder that FASHION_MNIST names."""
SIDE: Final = 28
CLASSES: Final = (
    "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
)  # fmt: skip
MEAN: Final = 0.286
"""Mean of the training images' pixels, where full white is 1."""
STD: Final = 0.353
"""Standard deviation of the same pixels."""
BLACK: Final = -MEAN / STD
"""The background in the networks' input."""


class Images(NamedTuple):
    """`images` uint8 [N, 28, 28], `labels` int64 [N] with values 0..9."""

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]


def is_installed() -> bool:
    """Whether the package's files are there."""
    return (PACKAGE / "t10k-images-idx3-ubyte.gz").exists()


def load_training() -> Images:
    """The 60,000 images to learn from."""
    return _load("train")


def load_test() -> Images:
    """The 10,000 images on which accuracy is measured, and nothing else."""
    return _load("t10k")


def network_input(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """uint8 [N, 28, 28] -> float32 [N, 1, 28, 28]."""
    scaled = images[:, None].astype(np.float32) / np.float32(255)
    return (scaled - np.float32(MEAN)) / np.float32(STD)


def _load(part: str) -> Images:
    """FileNotFoundError, which says what to install, where the files are missing."""
    if not is_installed():
        raise FileNotFoundError(
            f"{PACKAGE}: no Fashion-MNIST here. On Debian: apt-get install dataset-fashion-mnist; elsewhere "
            f"put its four .gz files into a folder and name that in FASHION_MNIST"
        )
    images = _idx(PACKAGE / f"{part}-images-idx3-ubyte.gz", header=16).reshape(-1, SIDE, SIDE)
    labels = _idx(PACKAGE / f"{part}-labels-idx1-ubyte.gz", header=8)
    return Images(images, labels.astype(np.int64))


def _idx(path: Path, header: int) -> npt.NDArray[np.uint8]:
    """The bytes of an IDX file behind its header."""
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
