"""Convolutions of an image of at most four channels in bytes, a network's first layer: a pixel is a word.

Implicit GEMM whose step is four taps of a row of the kernel, instead of a tap of 16 channels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...kernel import Kernel
from ...primitives.conv.int8_spec import FEW, LinearSpec
from ...primitives.specs import ConvSpec, Floats
from ...rounding import up
from ...targets.target import Target
from .block import WORDS
from .few_channels_kernel import FewSpec, build
from .implicit_gemm import BytesGemm, ImplicitGemm
from .panels import panels
from .thread import thread_of
from .tile import Work

Array = NDArray[Any]


@dataclass(frozen=True)
class FewChannels(ImplicitGemm):
    """Any kernel, stride, dilation and padding."""

    name: str = "few_channels"
    parted: ClassVar[bool] = False

    def layouts(self, spec: ConvSpec, target: Target) -> tuple[tuple[str, str], ...]:
        return ((spec.few_channels_layout(), spec.blocked_layouts(thread_of(target))[1]),)

    def applicable(self, spec: ConvSpec, target: Target) -> str | None:
        if spec.channels > FEW:
            return f"{spec.channels} channels"
        return super().applicable(spec, target)

    def blocks(self, spec: ConvSpec, target: Target) -> int:
        return 1

    def work(self, spec: ConvSpec, target: Target) -> Work:
        return replace(super().work(spec, target), steps=spec.kernel[0] * -(-spec.kernel[1] // WORDS))

    def pack(self, spec: ConvSpec, target: Target, weights: Array, bias: Floats | None) -> tuple[Array, ...]:
        """OIHW to [filter tile][kh][four taps of kw] of `panels`, a tap of which is a word."""
        tile = self._tile(spec, target)
        count = up(self.filters(spec, target), tile.filters)
        filters, channels, kh, kw = weights.shape
        padded = np.pad(weights, [(0, count - filters), (0, FEW - channels), (0, 0), (0, -kw % WORDS)])
        split = padded.reshape(count // tile.filters, tile.filters, FEW, kh, -1, WORDS)
        return (panels(tile, split.transpose(0, 3, 4, 1, 5, 2)),)

    def kernel(self, spec: ConvSpec, target: Target) -> Kernel:
        assert isinstance(spec, LinearSpec)
        tile, plain = self._tile(spec, target), replace(spec.unbordered(), workspace_limit=None)
        key = FewSpec(plain, tile, 1, target.cuda.architecture.dot)
        tasks = self.work(spec, target).tasks(tile)
        return Kernel(self.name, key, partial(build, key), tasks, tile.shared_bytes, threads=tile.threads)


FEW_CHANNELS = FewChannels()
PRIMITIVES = (BytesGemm(FEW_CHANNELS),)
