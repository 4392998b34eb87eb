"""Machines that run TFLite files: any int8 runtime, and the Edge TPU with what its compiler maps.

What the Edge TPU takes is the table of its compiler's documentation (version 16.0, runtime 14).
"""

from __future__ import annotations

from dataclasses import dataclass

from .files import Files
from .systolic import CORE, EDGE_TPU, Systolic
from .target import Target


@dataclass(frozen=True)
class Tflite(Files):
    """A runtime of TFLite files.

    `groups`: convolutions may have groups; else each group is an operator of its own. `coral`: what the Edge
    TPU's compiler maps is worth knowing. `array` is what times are estimated by.
    """

    groups: bool
    array: Systolic
    coral: bool = False


TFLITE = (
    Target(
        "litert",
        Tflite("any runtime of 8-bit TFLite: LiteRT, LiteRT Micro, Ethos-U by Vela", groups=True, array=CORE),
    ),
    Target(
        "edgetpu",
        Tflite(
            "the Edge TPU, behind edgetpu_compiler",
            groups=False,
            array=EDGE_TPU,
            coral=True,
            then="edgetpu_compiler {file}",
        ),
    ),
)
