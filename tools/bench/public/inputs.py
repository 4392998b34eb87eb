"""What public networks are shown: pictures made of noise, and lines of text for those that read."""

from __future__ import annotations

import string

import numpy as np

from secateur.tools.bench.data import smooth_noise
from secateur.tools.bench.peers import Floats

LETTER = 24  # pixels
LINE = 40


def noise(count: int, shape: tuple[int, ...], seed: int) -> Floats:
    """Noise of a photograph's spectrum, mean 0 and variance 1: [count, *shape].

    `shape` is [C, H, W], [H, W, C] with one or three channels, or [T, 1] for sound.
    """
    channels_last = shape[-1] in (1, 3)
    planar = (shape[-1], *shape[:-1]) if channels_last else shape
    if len(planar) == 2:
        planar = (planar[0], 1, planar[1])
    planes = smooth_noise((count, *planar), seed)
    moved = np.moveaxis(planes, 1, -1) if channels_last else planes
    return np.ascontiguousarray(moved).reshape(count, *shape)


def text(count: int, shape: tuple[int, ...], seed: int) -> Floats:
    """Lines of dark letters on light noise, mean near 0 within [-1, 1]: [count, C, H, W]."""
    from PIL import Image, ImageDraw, ImageFont

    _, height, width = shape
    rng = np.random.default_rng(seed)
    font = ImageFont.load_default(LETTER)
    pages = []
    for _ in range(count):
        page = Image.new("L", (width, height), 230)
        for top in range(max(0, (min(height, LINE) - LETTER - 8) // 2), height - LETTER, LINE):
            words = "".join(rng.choice(list(string.ascii_letters + string.digits), width // LETTER))
            ImageDraw.Draw(page).text((8, top), words, fill=20, font=font)
        pages.append(np.asarray(page, np.float32) / 127.5 - 1)
    drawn = np.stack(pages)[:, None].repeat(shape[0], axis=1)
    return np.asarray(np.clip(drawn + 0.05 * noise(count, shape, seed), -1, 1), np.float32)
