"""Graph inputs: their types, with symbolic dimensions settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from onnx import TensorShapeProto, ValueInfoProto

from ..errors import ModelError
from ..types import TensorType
from .tensors import dtype_of

Dim = int | str | None
"""A static extent, the name of a symbolic one, or an unknown one."""


def _dim(dim: TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None


def _declared(info: ValueInfoProto) -> list[Dim] | None:
    tensor = info.type.tensor_type
    return [_dim(d) for d in tensor.shape.dim] if tensor.HasField("shape") else None


def _check_given(name: str, declared: Sequence[Dim] | None, given: Sequence[int]) -> None:
    fits = declared is None or (
        len(declared) == len(given)
        and all(not isinstance(d, int) or d == g for d, g in zip(declared, given, strict=True))
    )
    if not fits:
        raise ModelError(f"input '{name}' has shape {_show(declared)}; {_show(given)} does not fit")


def _show(dims: Sequence[Dim] | None) -> str:
    return "unknown" if dims is None else "x".join("?" if d is None else str(d) for d in dims) or "scalar"


def _unsettled(missing: Mapping[str, Sequence[Dim] | None]) -> ModelError:
    inputs = ", ".join(f"'{name}' ({_show(dims)})" for name, dims in missing.items())
    name, dims = next(iter(missing.items()))
    example = "1x3x224x224" if not dims else "x".join(str(d) if isinstance(d, int) else "1" for d in dims)
    return ModelError(f"shape not known of input {inputs}; settle it with --shape {name}={example}")


def _symbols(
    declared: Mapping[str, Sequence[Dim] | None], given: Mapping[str, Sequence[int]]
) -> dict[str, int]:
    """Extents of symbolic dimensions that the given shapes settle for every input."""
    found: dict[str, int] = {}
    for name, shape in given.items():
        for dim, extent in zip(declared[name] or (), shape, strict=False):
            if isinstance(dim, str) and found.setdefault(dim, extent) != extent:
                raise ModelError(f"dimension '{dim}' is given as {found[dim]} and as {extent}")
    return found


def input_types(infos: Sequence[ValueInfoProto], given: Mapping[str, Sequence[int]]) -> dict[str, TensorType]:
    """The static type of each input by name; ModelError where one is not settled or not a tensor."""
    declared = {info.name: _declared(info) for info in infos}
    unknown = set(given) - set(declared)
    if unknown:
        raise ModelError(
            f"the model has no input {', '.join(sorted(unknown))}; inputs: {', '.join(declared)}"
        )
    for name, shape in given.items():
        _check_given(name, declared[name], shape)
    symbols = _symbols(declared, given)
    shapes = {
        name: list(given[name])
        if name in given
        else dims and [symbols.get(d, d) if isinstance(d, str) else d for d in dims]
        for name, dims in declared.items()
    }
    missing = {n: s for n, s in shapes.items() if s is None or any(not isinstance(d, int) for d in s)}
    if missing:
        raise _unsettled(missing)
    return {info.name: _type(info, shapes[info.name] or []) for info in infos}


def _type(info: ValueInfoProto, shape: Sequence[Dim]) -> TensorType:
    if not info.type.HasField("tensor_type"):
        raise ModelError(f"input '{info.name}' is not a tensor")
    try:
        dtype = dtype_of(info.type.tensor_type.elem_type)
        return TensorType(tuple(d for d in shape if isinstance(d, int)), dtype)
    except ValueError as error:
        raise ModelError(f"input '{info.name}': {error}") from None
