"""Labelled images in memory, as training wants them: shuffled, split, moved and turned."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..ir.errors import SecateurError
from ..ir.graph import Graph
from ..passes.quantize.calibration.data import open_source
from ..passes.quantize.calibration.preparation import Preparation


@dataclass(frozen=True, eq=False)
class Labelled:
    """`images` as the network's only input takes them, N x one image; `labels` int64, N."""

    images: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise SecateurError(f"{len(self.images)} images have {len(self.labels)} labels")

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: Tensor) -> Labelled:
        """The images of these indices, in their order."""
        return Labelled(self.images[rows], self.labels[rows])

    def split(self, count: int, seed: int = 0) -> tuple[Labelled, Labelled]:
        """All but `count` images, and those `count`: drawn by `seed`, never the same image in both."""
        if not 0 < count < len(self):
            raise SecateurError(f"{count} of {len(self)} images cannot be held out")
        order = torch.from_numpy(np.random.default_rng(seed).permutation(len(self)))
        return self.part(order[count:]), self.part(order[:count])


def load(data: str | Path, graph: Graph, preparation: Preparation | None = None) -> Labelled:
    """The labelled images of a folder of classes, an .npz or a list of files, for the only input of `graph`.

    SecateurError where there are no labels, or what is there does not fit the input.
    """
    if len(graph.inputs) != 1:
        raise SecateurError(f"a network with one input is trained, this one has {len(graph.inputs)}")
    name = graph.inputs[0].name
    images, labels = zip(
        *((b[name], y) for b, y in open_source(data, graph, preparation).labelled()), strict=True
    )
    return Labelled(torch.from_numpy(np.concatenate(images)), torch.from_numpy(np.concatenate(labels)))


@dataclass(frozen=True)
class Augmentation:
    """Each image is shifted by up to `shift` pixels along both axes, `fill` coming in; half are mirrored."""

    shift: int = 0
    flip: bool = False
    fill: float = 0.0

    def __call__(self, images: Tensor, random: torch.Generator, _epoch: int) -> Tensor:
        """N x C x H x W to the same; draws for each image even where nothing changes."""
        count, _, height, width = images.shape
        down, right = (torch.randint(0, 2 * self.shift + 1, (count, 1), generator=random) for _ in "xy")
        mirrored = torch.rand(count, 1, generator=random) < (0.5 if self.flip else 0.0)
        rows, columns = torch.arange(height) + down, torch.arange(width)
        columns = torch.where(mirrored, width - 1 - columns, columns) + right
        framed = functional.pad(images, (self.shift,) * 4, value=self.fill)
        return _picked(framed, rows, columns)


def _picked(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Of each image (N x C x H x W) its own rows (N x h) and columns (N x w)."""
    each = torch.arange(len(images))[:, None, None]
    return images[each, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
