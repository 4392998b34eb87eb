"""What `secateur.compile` and `secateur.quantize` are asked for, as frozen values.

The command line makes the same ones: its options, their kinds and their help are these fields.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from .ir.errors import SecateurError
from .ir.support.options import Help, documented, settle
from .ir.support.progress import Progress, silent
from .passes.half.options import HalfRecipe
from .passes.prune.options import Recipe as PruningRecipe
from .passes.quantize.calibration.preparation import Preparation
from .passes.quantize.options import Recipe

if TYPE_CHECKING:
    from .passes.framework.manager import Observer

Kind = Literal["so", "dir", "tar", "tflite", "onnx"]
Io = Literal["int8", "uint8", "float32"]
Verify = Literal["passes", "artifact"]
Calibration = str | Path | Iterable[Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What is known of a model's inputs beforehand.

    `shapes` settles symbolic dimensions by input name, `batch` the first dimension of inputs that leave it
    free (else 1, with a warning of the kind ModelNote). `constants` gives, by name, inputs that are known and
    are none of the artifact's: numbers, lists of them, or arrays.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    batch: int | None = None
    constants: Mapping[str, Any] = field(default_factory=dict)


@documented
@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the plan of a network must keep; a limit that no plan keeps is refused with the nearest that is.

    SecateurError for a number below 0, infinite, or none.
    """

    memory: Annotated[
        int | None, Help("Arena at most: the fastest plan that fits is chosen.", "SIZE", "bytes")
    ] = None
    size: Annotated[
        int | None,
        Help(
            "Library of the artifact at most: primitives whose weights take less are chosen.", "SIZE", "bytes"
        ),
    ] = None
    weights_memory: Annotated[
        int | None,
        Help(
            "Decoded weights kept in memory at most: the others are decoded in each run, right before their "
            "layer, into the arena (by --compress, else fast).",
            "SIZE",
            "bytes",
        ),
    ] = None
    latency: Annotated[
        float | None,
        Help(
            "Estimated time on one core at most: without a limit on memory, the plan of least memory that "
            "keeps it is chosen.",
            "TIME",
            "seconds",
        ),
    ] = None
    min_sqnr: Annotated[
        float | None,
        Help(
            "SQNR of the outputs against the float network's at least: int8 keeps layers in float for it, "
            "a float network is computed by primitives whose rounding errors add up to no more.",
            "DB",
        ),
    ] = None
    without: Annotated[
        Sequence[str],
        Help("Primitives not to be chosen: winograd6, or winograd6@NODE for one operator.", "NAMES"),
    ] = ()
    strict: Annotated[
        bool,
        Help(
            "An infinite or NaN pixel reaches only what depends on it: Winograd and grouped convolution "
            "in shared vectors are not chosen, weights that are not finite are refused under padding."
        ),
    ] = False

    def __post_init__(self) -> None:
        settle(self)
        for name in ("memory", "size", "weights_memory", "latency", "min_sqnr"):
            limit = getattr(self, name)
            if limit is not None and not 0 <= limit < math.inf:
                raise SecateurError(f"{name} must be a number from 0 on, is {limit:g}")

    def check_beside(self, pipeline: str | None) -> None:
        """SecateurError where there is a limit beside a pipeline, which says itself what it keeps."""
        default = Limits()
        several = [f.name for f in fields(self) if getattr(self, f.name) != getattr(default, f.name)]
        if pipeline is not None and several:
            raise SecateurError(
                f"a limit ({', '.join(several)}) does not go together with a pipeline; write it into that, "
                "such as quantize{min_sqnr=30} or select{memory=4MiB,seconds=0.02,sqnr=110}"
            )


@documented
@dataclass(frozen=True, kw_only=True)
class Ends:
    """What a TFLite file takes and gives."""

    io: Annotated[
        Io, Help("Element type of inputs and outputs: of a TFLite file's own bytes, or what is converted.")
    ] = "int8"
    keep_nchw: Annotated[
        bool, Help("Images with channels first, as the model has them; a TFLite file transposes them.")
    ] = False

    def __post_init__(self) -> None:
        settle(self)


@documented
@dataclass(frozen=True)
class Int8(Recipe):
    """A network in 8 bits, with ranges chosen on `calibration`.

    That is a folder of images, an .npz or .npy file, a list file, "random:N", or an iterable of
    {input name: array}. Image files are made numbers as `preparation` says. SecateurError for an option that
    is not known, or out of range.
    """

    calibration: Annotated[
        Calibration,
        Help("Images to choose ranges on: a folder, an .npz or .npy file, a .txt list, or random:N.", "SRC"),
    ]
    images: Annotated[
        int | None, Help("Use at most so many images, evenly spread over the source.", "COUNT")
    ] = field(default=None, kw_only=True)
    ranges: Annotated[str | Path | None, Help("Ranges that --save-ranges wrote.", "FILE.json")] = field(
        default=None, kw_only=True
    )
    preparation: Preparation | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_images(self.images)


@documented
@dataclass(frozen=True, kw_only=True)
class Fp16(HalfRecipe):
    """A network in 16-bit floats; its inputs and outputs stay float32.

    Layers whose values come near the largest 16-bit float on `calibration`, which may be what
    `Int8.calibration` is, stay in float32; without it only weights are looked at. SecateurError for an
    option that is not known, or out of range.
    """

    calibration: Annotated[
        Calibration | None,
        Help("Images to look for overflows on: a folder, an .npz or .npy file, a .txt list.", "SRC"),
    ] = None
    images: Annotated[
        int | None, Help("Use at most so many images, evenly spread over the source.", "COUNT")
    ] = None
    preparation: Preparation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_images(self.images)


@documented
@dataclass(frozen=True, kw_only=True)
class Pruning(PruningRecipe):
    """What a pruned network may cost, and how its channels are judged; a limit at least is given.

    `data` is what `Int8.calibration` may be; it should have labels where `max_drop` is given. Without it only
    weights are looked at, and nothing is repaired. SecateurError for an option that is not known, or out of
    range.
    """

    data: Annotated[
        Calibration | None,
        Help("Images that the network will see: a folder, an .npz or .npy file, a .txt list.", "SRC"),
    ] = None
    images: Annotated[
        int | None, Help("Look at so many images at most, evenly spread over the source.", "COUNT")
    ] = 256
    preparation: Preparation | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check()
        _check_images(self.images)
        if self.max_drop is not None and self.data is None:
            raise SecateurError("max_drop is measured on labelled images; give some as data")


@dataclass(frozen=True, kw_only=True)
class Watch:
    """What is shown and checked of a compilation.

    `progress` is called with a phase, how much of it is done, and of how much; `observers` see the IR before
    and after each pass. `dump_ir` names a folder for the IR after each pass and every kernel's TIR, LLVM IR
    and assembly.

    `verify="passes"` checks every pass against the interpreter, `verify="artifact"` also the finished
    artifact, which is run on this machine before it is put in its place: to the bit where integers alone are
    computed, within the tolerances of `secateur.verification` else. Both use `verify_on`, arrays by input
    name, or seeded noise; `verify_on` alone checks the passes.
    """

    progress: Progress = silent
    observers: Sequence[Observer] = ()
    dump_ir: str | Path | None = None
    verify: Verify | None = None
    verify_on: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.verify not in (None, *get_args(Verify)):
            raise SecateurError(f"verify is '{self.verify}'; known: {', '.join(get_args(Verify))}")


def _check_images(count: int | None) -> None:
    if count is not None and count < 1:
        raise SecateurError(f"images must be 1 or more, is {count}")
