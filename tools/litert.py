"""LiteRT runs TFLite files here, by its reference kernels: those whose bytes the interpreter gives."""

from __future__ import annotations

import faulthandler
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.tflite.contents import read_contents
from secateur.codegen.backends.tflite.schema import needed
from secateur.ir.errors import ModelError

Array = NDArray[Any]


Kernels = Literal["reference", "default"]
RESOLVERS: dict[Kernels, str] = {"reference": "BUILTIN_REF", "default": "AUTO"}


@dataclass(frozen=True)
class Port:
    """An input of a file."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    index: int


@dataclass(frozen=True)
class Stored:
    """How a file holds an end: shape, element type, scale and zero point; a scale of 0: real numbers."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero: int

    def of(self, real: Array) -> Array:
        """Real numbers in the model's order as the file wants them."""
        laid = _last(real) if real.shape != self.shape else real
        if not self.scale:
            return np.ascontiguousarray(laid.astype(self.dtype))
        limits = np.iinfo(self.dtype)
        steps = np.rint(laid / np.float32(self.scale)) + self.zero
        return np.ascontiguousarray(np.clip(steps, limits.min, limits.max).astype(self.dtype))

    def real(self, stored: Array, shape: tuple[int, ...]) -> Array:
        """The file's elements as real numbers in the model's order and shape."""
        laid = stored if stored.shape == shape else _first(stored)
        found = (laid.astype(np.float32) - self.zero) * np.float32(self.scale) if self.scale else laid
        return found.reshape(shape)


def _last(array: Array) -> Array:
    """Channels behind the axes of space."""
    return np.moveaxis(array, 1, -1) if array.ndim > 2 else array


def _first(array: Array) -> Array:
    return np.moveaxis(array, -1, 1) if array.ndim > 2 else array


def real_outputs(
    path: Path, inputs: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array]:
    """What a file gives for a model's inputs, as the model's outputs of these shapes.

    Bytes are quantized and read by the file's scales; images go channels last where the file has them so.
    """
    with LitertSession(path) as session:
        given, made = session.stored
        for port in given:
            if port.name not in inputs or inputs[port.name].size != math.prod(port.shape):
                raise ModelError(
                    f"{path}: input '{port.name}' is none of the model's; was it compiled from it?"
                )
        found = session.run({port.name: port.of(inputs[port.name]) for port in given})
        return {p.name: p.real(found[p.name], shapes[p.name]) for p in made if p.name in shapes}


LONGEST = 511
"""Of so many elements a softmax never aborts LiteRT's reference kernel."""
ABORTS = (
    "LiteRT's reference kernel of SOFTMAX ends the process where the exponentials of a row, relative to its "
    "largest element, add up to 512 or more, as they do here; its default kernels do not (bench)"
)


def may_abort(path: Path) -> bool:
    """Whether a file has a softmax of so many elements that LiteRT's reference kernel may end the process."""
    found = (op.inputs[0].shape for op in read_contents(path).operators if op.kind == "SOFTMAX" and op.inputs)
    return any(shape and shape[-1] > LONGEST for shape in found)


def in_child(call: Callable[[], dict[str, Array]], aborts: str) -> dict[str, Array]:
    """What a call gives, made in a process of its own; ModelError with the reason where that one ends."""
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def answer() -> None:
        faulthandler.disable()  # an abort is expected here, and told by the parent
        sender.send(call())

    process = context.Process(target=answer)
    process.start()
    sender.close()
    try:
        found: dict[str, Array] = receiver.recv()
    except EOFError:
        raise ModelError(aborts) from None
    finally:
        process.join()
    return found


class LitertSession:
    """A file that LiteRT has loaded; `threads` compute. ModelError where LiteRT refuses it.

    `kernels` are its reference kernels, or those that it takes by default: XNNPACK's where that has some.
    """

    def __init__(self, path: Path, threads: int = 1, kernels: Kernels = "reference") -> None:
        litert = needed("ai_edge_litert.interpreter")
        self._aborts = f"{path}: {ABORTS}" if kernels == "reference" and may_abort(path) else ""
        try:
            self._interpreter = litert.Interpreter(
                model_content=path.read_bytes(),
                num_threads=threads,
                experimental_op_resolver_type=getattr(litert.OpResolverType, RESOLVERS[kernels]),
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{path}: LiteRT refuses it: {error}") from None

    def __enter__(self) -> LitertSession:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        del self._interpreter

    @property
    def inputs(self) -> list[Port]:
        return [
            Port(row["name"], tuple(map(int, row["shape"])), np.dtype(row["dtype"]), row["index"])
            for row in self._interpreter.get_input_details()
        ]

    @property
    def stored(self) -> tuple[list[Stored], list[Stored]]:
        """How inputs and outputs are held."""
        rows = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        inputs, outputs = ([_stored(row) for row in side] for side in rows)
        return inputs, outputs

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, of arrays by name that fit the inputs; ModelError where LiteRT aborts."""
        return in_child(lambda: self._run(inputs), self._aborts) if self._aborts else self._run(inputs)

    def _run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        for port in self.inputs:
            self._interpreter.set_tensor(port.index, inputs[port.name])
        self._interpreter.invoke()
        rows = self._interpreter.get_output_details()
        return {row["name"]: np.array(self._interpreter.get_tensor(row["index"])) for row in rows}


def _stored(row: Mapping[str, Any]) -> Stored:
    scale, zero = row["quantization"]
    return Stored(row["name"], tuple(map(int, row["shape"])), np.dtype(row["dtype"]), float(scale), int(zero))
