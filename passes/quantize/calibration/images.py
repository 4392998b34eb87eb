"""Image files as a network's input: resized, cropped, scaled, normalized. Needs Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Value
from secateur.ir.types import DType

from .preparation import Preparation, need

Array = NDArray[Any]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_MODES = {1: "L", 3: "RGB"}


@dataclass(frozen=True)
class ImageReader:
    """Reads an image file as one element of the batch of `port`, an input N x C x H x W or N x H x W x C.

    f32 inputs get normalized numbers, u8 inputs the pixels as they are. The
    colours are red, green, blue; one channel gets luminance.
    """

    port: Value
    preparation: Preparation

    def __post_init__(self) -> None:
        name, type = self.port.name, self.port.type
        need(
            type.rank == 4 and (type.shape[1] in _MODES or type.shape[3] in _MODES),
            f"input '{name}' of shape {type.shape} takes no images: N x C x H x W with 1 or 3 "
            f"channels is wanted",
        )
        need(
            type.dtype in (DType.F32, DType.U8),
            f"input '{name}' is {type.dtype.value}; images are given to f32 and u8 inputs only",
        )
        need(
            type.dtype == DType.F32 or self.preparation.is_plain,
            f"input '{name}' takes the bytes of the image as they are; --mean and --std do not apply",
        )
        for option, given in (("--mean", self.preparation.mean), ("--std", self.preparation.std)):
            fits = len(given) in (1, self._channels)
            need(fits, f"{option} has {len(given)} numbers, input '{name}' has {self._channels} channel")

    @property
    def _channels_first(self) -> bool:
        return self.port.type.shape[1] in _MODES

    @property
    def _channels(self) -> int:
        return self.port.type.shape[1 if self._channels_first else 3]

    @property
    def _extent(self) -> tuple[int, int]:
        """Height and width."""
        h, w = self.port.type.shape[2:] if self._channels_first else self.port.type.shape[1:3]
        return h, w

    def read(self, path: Path) -> Array:
        """The image in `path`, shaped as the input without its first axis; SecateurError where it is none."""
        pixels = self._pixels(path)
        if self.port.type.dtype == DType.F32:
            mean, std = (np.array(n, np.float32) for n in (self.preparation.mean, self.preparation.std))
            pixels = (pixels.astype(np.float32) / np.float32(255) - mean) / std
        return np.ascontiguousarray(pixels.transpose(2, 0, 1) if self._channels_first else pixels)

    def _pixels(self, path: Path) -> Array:
        """Bytes of H x W x C."""
        image_module = pillow()
        try:
            with image_module.open(path) as image:
                cut = _cut(image.convert(_MODES[self._channels]), self._extent, self.preparation.resize)
        except (image_module.UnidentifiedImageError, image_module.DecompressionBombError, SyntaxError):
            raise SecateurError(f"{path}: is not an image that Pillow reads") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise SecateurError(f"{path}: damaged image: {error}") from None
        return np.asarray(cut, np.uint8).reshape(*self._extent, self._channels)


def pillow() -> Any:
    """The module PIL.Image; SecateurError that names the package where it is missing."""
    try:
        from PIL import Image
    except ImportError:
        raise SecateurError(
            "reading images needs Pillow: pip install pillow; or give the prepared images as .npy or .npz"
        ) from None
    return Image


def _cut(image: Any, extent: tuple[int, int], size: int | None) -> Any:
    """The middle of the image, resized (bilinear, antialiased) so that `extent` fits in.

    The shorter side becomes `size`, or more where `extent` needs it.
    """
    (height, width), (h, w) = (image.height, image.width), extent
    scale = max(h / height, w / width, (size or 0) / min(height, width))
    resized = (max(w, round(width * scale)), max(h, round(height * scale)))
    if resized != image.size:
        image = image.resize(resized, pillow().Resampling.BILINEAR)
    left, top = (image.width - w) // 2, (image.height - h) // 2
    return image.crop((left, top, left + w, top + h))
