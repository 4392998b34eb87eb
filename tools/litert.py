"""LiteRT runs TFLite files here, by its reference kernels: those whose bytes the interpreter gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

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


class LitertSession:
    """A file that LiteRT has loaded; `threads` compute. ModelError where LiteRT refuses it.

    `kernels` are its reference kernels, or those that it takes by default: XNNPACK's where that has some.
    """

    def __init__(self, path: Path, threads: int = 1, kernels: Kernels = "reference") -> None:
        litert = needed("ai_edge_litert.interpreter")
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

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name, of arrays by name that fit the inputs."""
        for port in self.inputs:
            self._interpreter.set_tensor(port.index, inputs[port.name])
        self._interpreter.invoke()
        rows = self._interpreter.get_output_details()
        return {row["name"]: np.array(self._interpreter.get_tensor(row["index"])) for row in rows}
