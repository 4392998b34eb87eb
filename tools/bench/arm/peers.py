"""Instructions of other engines on the same networks, as they were counted, and what is asked of ours.

Million executed AArch64 instructions an inference at batch 1 on one thread, under qemu-aarch64 7.2 and by a
plugin as ours, between two system calls just before and after one inference that a first one went before. The
wheels of PyPI in Debian 12's Python: Winograd on where there is one, 16-bit floats off but for fp16, in int8
what each engine's own quantizer makes (ONNX Runtime: QDQ; LiteRT: TFLite). The call from Python is inside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

VERSIONS = {"onnxruntime": "1.31.1", "ncnn": "1.0.20261020", "mnn": "3.6.1", "litert": "2.3.0"}


@dataclass(frozen=True)
class Peers:
    """One network in one precision on one core: `millions` by engine.

    `classes`: of the engine with the fewest, by 1000 multiply-accumulates of the direct convolutions, in the
    order of `counting.CLASSES`.
    """

    network: str
    precision: str
    core: str
    millions: Mapping[str, float]
    classes: tuple[float, ...]

    @property
    def best(self) -> str:
        """The engine with the fewest."""
        return min(self.millions, key=lambda name: self.millions[name])


# fmt: off
COUNTS = (
    Peers("resnet20", "fp32", "a72", {"onnxruntime": 20.2, "ncnn": 8.5, "mnn": 8, "litert": 15.4},
          (79.7, 0, 0, 0, 0, 22.1, 14.4, 26.2, 6.7, 11, 36.5)),
    Peers("resnet20", "fp32", "a76", {"onnxruntime": 20.2, "ncnn": 8.5, "mnn": 8, "litert": 14.8},
          (79.7, 0, 0, 0, 0, 22.1, 14.4, 26.2, 6.7, 11, 36.5)),
    Peers("squeezenet1.1", "fp32", "a72", {"onnxruntime": 136.8, "ncnn": 75.6, "mnn": 80.5, "litert": 136.4},
          (158.9, 0, 0, 0, 0, 13.9, 5.6, 11.4, 11, 5.4, 10.4)),
    Peers("squeezenet1.1", "fp32", "a76", {"onnxruntime": 136.8, "ncnn": 75.6, "mnn": 80.5, "litert": 130.4},
          (158.9, 0, 0, 0, 0, 13.9, 5.6, 11.4, 11, 5.4, 10.4)),
    Peers("mobilenet-v2", "fp32", "a72", {"onnxruntime": 181.1, "ncnn": 101.2, "mnn": 110, "litert": 123.4},
          (249.9, 0, 0, 0, 0, 19.5, 6.9, 16.6, 19.4, 8.7, 15.5)),
    Peers("mobilenet-v2", "fp32", "a76", {"onnxruntime": 181.1, "ncnn": 101.2, "mnn": 110, "litert": 120.5},
          (249.9, 0, 0, 0, 0, 19.5, 6.9, 16.6, 19.5, 8.7, 15.5)),
    Peers("resnet18", "fp32", "a72", {"onnxruntime": 665.7, "ncnn": 239.4, "mnn": 267, "litert": 666.8},
          (101.3, 0, 0, 0, 0, 8.5, 2.2, 4.7, 7.5, 2.7, 5)),
    Peers("resnet18", "fp32", "a76", {"onnxruntime": 665.7, "ncnn": 239.6, "mnn": 267, "litert": 640.5},
          (101.3, 0, 0, 0, 0, 8.6, 2.2, 4.7, 7.5, 2.7, 5.1)),
    Peers("vgg16", "fp32", "a76", {"onnxruntime": 5143.4, "ncnn": 1316.6, "mnn": 1357.4, "litert": 5055.3},
          (63.9, 0, 0, 0, 0, 5.4, 1.5, 5.6, 4.4, 1.7, 2.6)),
    Peers("resnet20", "int8", "a72", {"onnxruntime": 15.8, "ncnn": 7.1, "mnn": 11.3, "litert": 12.8},
          (1.2, 0, 0, 0, 72.3, 12.6, 7.2, 33.3, 12.9, 11.5, 22.4)),
    Peers("resnet20", "int8", "a76", {"onnxruntime": 8.5, "ncnn": 5.5, "mnn": 8.3, "litert": 4.5},
          (0, 0, 62.7, 0, 0, 14, 0.4, 12.4, 2.5, 3.7, 13.4)),
    Peers("squeezenet1.1", "int8", "a72", {"onnxruntime": 117.2, "ncnn": 75, "mnn": 111.8, "litert": 121.5},
          (1.9, 0, 0, 0, 128.9, 11.8, 4.8, 42.3, 5.3, 7.1, 12.8)),
    Peers("squeezenet1.1", "int8", "a76", {"onnxruntime": 54.3, "ncnn": 39.5, "mnn": 49.9, "litert": 39.3},
          (0, 0, 64.6, 0, 0, 16.1, 0.7, 12.3, 1.9, 4.3, 12.7)),
    Peers("mobilenet-v2", "int8", "a72", {"onnxruntime": 119.8, "ncnn": 140.6, "mnn": 117.3, "litert": 113.7},
          (0, 0, 0, 0, 202.9, 59.3, 2.8, 59.9, 13.2, 10.8, 29.2)),
    Peers("mobilenet-v2", "int8", "a76", {"onnxruntime": 64.6, "ncnn": 92.3, "mnn": 57.1, "litert": 49.2},
          (0, 0, 61.2, 0, 8.6, 26.1, 1.4, 44.8, 1.3, 3.7, 16.5)),
    Peers("resnet18", "int8", "a72", {"onnxruntime": 576.8, "ncnn": 227.4, "mnn": 396.6, "litert": 579.8},
          (0.3, 0, 0, 0, 91.3, 7.3, 1.6, 13, 3.3, 2.9, 5.6)),
    Peers("resnet18", "int8", "a76", {"onnxruntime": 199.6, "ncnn": 155.3, "mnn": 147, "litert": 172.8},
          (1.7, 0, 37.7, 0, 0, 5.5, 1.7, 12.7, 5.2, 4.4, 12.1)),
    Peers("vgg16", "int8", "a72", {"onnxruntime": 4794.6, "ncnn": 1338.3, "mnn": 1272.9, "litert": 4122.4},
          (1.4, 0, 0, 0, 49.8, 5.1, 1.6, 12.8, 1.5, 3, 7.1)),
    Peers("vgg16", "int8", "a76", {"onnxruntime": 1583.5, "ncnn": 1271.3, "mnn": 677.9, "litert": 1273.9},
          (1.5, 0, 18.6, 0, 0, 4, 1.5, 10, 1.1, 1.7, 5.4)),
    Peers("resnet20", "fp16", "a76", {"ncnn": 5.2, "mnn": 4.3},
          (0, 39.6, 0, 0, 0, 12.1, 6.8, 14.8, 4.7, 6.5, 21.1)),
    Peers("resnet18", "fp16", "a76", {"ncnn": 130.3, "mnn": 140.9},
          (0, 50.6, 0, 0, 0, 5.3, 1.2, 2.7, 4.4, 2.7, 4.8)),
)

_NETWORKS = ("resnet20", "squeezenet1.1", "mobilenet-v2", "resnet18", "vgg16")
BARS = {
    ("a72", "fp32"): (6.5, 68, 90, 200, 1100),
    ("a72", "int8"): (4.6, 55, 85, 150, 800),
    ("a76", "fp32"): (6.5, 68, 90, 200, 1100),
    ("a76", "int8"): (3.0, 31, 42, 92, 420),
    ("a76", "fp16"): (3.8, 36, 50, 105, 560),
}
"""Millions that an inference of each network is to take at most, by core and precision."""
# fmt: on


def peers_of(network: str, precision: str, core: str) -> Peers | None:
    """The row of these, or None where nothing was counted."""
    wanted = (network, precision, core)
    return next((row for row in COUNTS if (row.network, row.precision, row.core) == wanted), None)


def bar_of(network: str, precision: str, core: str) -> float | None:
    """What is asked for, in millions; None where nothing is."""
    return dict(zip(_NETWORKS, BARS.get((core, precision), ()), strict=False)).get(network)
