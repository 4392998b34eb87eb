"""Machines that OpenVINO compiles for, from ONNX: the Neural Compute Stick 2, until release 2022.3."""

from __future__ import annotations

from dataclasses import dataclass

from .files import Files
from .target import Target


@dataclass(frozen=True)
class Myriad(Files):
    """A Myriad X, which computes in float16."""


MYRIAD = (
    Target(
        "ncs2",
        Myriad(
            "the Neural Compute Stick 2, behind OpenVINO 2022.3",
            then="compile_tool -m {file} -d MYRIAD -ip FP16 -op FP16",
        ),
    ),
)
