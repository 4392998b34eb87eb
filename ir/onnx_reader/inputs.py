"""Graph inputs: their types, with symbolic dimensions settled.

A dimension that has no name of its own (left out, negative, `?`) is its own unknown; a named one has one
extent wherever it stands. The first dimension of an input is its batch where it has rank 2 or more and the
name stands nowhere else than first, or is the first input's; a free batch is 1 unless it is told.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence

from onnx import TensorShapeProto, ValueInfoProto

from ..errors import ModelError, ModelNote
from ..support.shown import shown
from ..types import TensorType
from .tensors import dtype_of

Dim = int | str | None
"""A static extent, the name of a symbolic one, or an unknown one."""

Dims = Sequence[Dim] | None
"""A shape as declared; None where not even the rank is known."""

NAMELESS = {"", "?", "-1", "*", "None", "unk", "unknown"}
"""Texts that exporters write in place of a name."""

LETTERS = {2: "NL", 3: "NCL", 4: "NCHW", 5: "NCDHW"}
"""What axes are called in a hint, by rank."""

EXAMPLE = {"C": 3}
"""Extents in a hint's example; the other letters stand for 224."""


def _dim(dim: TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value) if dim.dim_value >= 0 else None
    name = dim.dim_param.strip()
    return None if name in NAMELESS else name


def declared(info: ValueInfoProto) -> Dims:
    """The shape that the file gives a value."""
    tensor = info.type.tensor_type
    return [_dim(d) for d in tensor.shape.dim] if tensor.HasField("shape") else None


def check_names(given: Iterable[str], known: Iterable[str]) -> None:
    """ModelError where something is said of an input that the model does not have."""
    known = list(known)
    unknown = set(given) - set(known)
    if unknown:
        raise ModelError(f"the model has no input {', '.join(sorted(unknown))}; inputs: {', '.join(known)}")


def _check_given(name: str, dims: Dims, given: Sequence[int]) -> None:
    if not fits(dims, given):
        raise ModelError(f"input '{shown(name)}' has shape {show(dims)}; {show(given)} does not fit")


def fits(dims: Dims, shape: Sequence[int]) -> bool:
    """Whether a shape is one that a declared one leaves open."""
    return dims is None or (
        len(dims) == len(shape)
        and all(not isinstance(d, int) or d == g for d, g in zip(dims, shape, strict=True))
    )


def show(dims: Dims) -> str:
    return "unknown" if dims is None else "x".join("?" if d is None else str(d) for d in dims) or "scalar"


# Symbols and the batch -------------------------------------------------------------------------------


def _symbols(shapes: Mapping[str, Dims], given: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """Extents of symbolic dimensions that the given shapes settle for every input."""
    found: dict[str, int] = {}
    for name, shape in given.items():
        for dim, extent in zip(shapes[name] or (), shape, strict=False):
            if isinstance(dim, str) and found.setdefault(dim, extent) != extent:
                raise ModelError(f"dimension '{shown(dim)}' is given as {found[dim]} and as {extent}")
    return found


def _batched(shapes: Mapping[str, Dims]) -> list[str]:
    """The inputs whose first dimension is a free batch.

    The first input's may stand elsewhere in others: recurrent states have it second.
    """
    ranked = {name: dims for name, dims in shapes.items() if dims and len(dims) > 1}
    main = next(iter(ranked.values()), None)
    elsewhere = {d for dims in shapes.values() for d in (dims or ())[1:] if isinstance(d, str)}
    if main and main[0] not in main[1:]:
        elsewhere.discard(str(main[0]))
    return [n for n, dims in ranked.items() if not isinstance(dims[0], int) and dims[0] not in elsewhere]


def _with_batch(shapes: Mapping[str, Dims], names: Iterable[str], batch: int) -> dict[str, Dims]:
    """The shapes with the batch of the inputs `names` settled, and with it whatever has its name."""
    free = set(names)
    same = {dims[0] for name in free if (dims := shapes[name]) and isinstance(dims[0], str)}
    return {
        name: dims
        and [batch if d in same or (i == 0 and name in free and d is None) else d for i, d in enumerate(dims)]
        for name, dims in shapes.items()
    }


def _check_batch(shapes: Mapping[str, Dims], free: Sequence[str], batch: int) -> None:
    """ModelError where the model's batch is another, or there is none."""
    if batch < 1:
        raise ModelError(f"a batch of {batch}: at least 1 is needed")
    firsts = {n: dims for n, dims in shapes.items() if dims and len(dims) > 1 and dims[0] != batch}
    if not free and firsts:
        name, dims = next(iter(firsts.items()))
        raise ModelError(f"input '{shown(name)}' has shape {show(dims)}; a batch of {batch} does not fit")


def _settled_batch(
    shapes: dict[str, Dims], free: Sequence[str], given: Mapping[str, Sequence[int]], batch: int | None
) -> tuple[dict[str, Dims], str]:
    """The shapes with their batch: as told, as of given shapes, else 1; and a note of what was assumed."""
    told = {given[name][0] for name in free if name in given}
    if batch is not None:
        _check_batch(shapes, free, batch)
        if told - {batch}:
            raise ModelError(f"the batch is given as {batch} and by a shape as {min(told - {batch})}")
    extent = batch or (told.pop() if len(told) == 1 else None)
    open_ = [name for name in free if name not in given and not isinstance((shapes[name] or (0,))[0], int)]
    listed = ", ".join(f"'{shown(name)}' ({show(shapes[name])})" for name in open_)
    note = f"input {listed}: the batch is free and becomes 1; --batch N sets it" if open_ else ""
    return _with_batch(shapes, open_, extent or 1), "" if extent else note


# What remains ----------------------------------------------------------------------------------------


def _letters(dims: Sequence[Dim]) -> list[str]:
    """A word for each dimension: its extent, its name, or a letter by its place."""
    letters = LETTERS.get(len(dims), [f"D{i}" for i in range(len(dims))])
    return [
        str(d) if isinstance(d, int) else d if d and d.isidentifier() else letters[i]
        for i, d in enumerate(dims)
    ]


def _example(dims: Sequence[Dim]) -> str:
    letters = LETTERS.get(len(dims), "?" * len(dims))
    return "x".join(
        str(d if isinstance(d, int) else 224 if isinstance(d, str) else EXAMPLE.get(letters[i], 224))
        for i, d in enumerate(dims)
    )


def _unsettled(missing: Mapping[str, Dims], dims: Mapping[str, Dims]) -> ModelError:
    """The error that says which shapes are open, and words that settle them as they stand."""
    inputs = ", ".join(f"'{shown(name)}' ({show(dims[name])})" for name in missing)
    forms = {n: (_letters(d), _example(d)) if d else (["1xCxHxW"], "1x3x224x224") for n, d in missing.items()}
    wanted = " ".join(f"--shape {shown(n)}={'x'.join(form)}" for n, (form, _) in forms.items())
    example = " ".join(f"--shape {shown(n)}={numbers}" for n, (_, numbers) in forms.items())
    return ModelError(f"shape not known of input {inputs}; settle it with {wanted}, for example {example}")


def input_types(
    infos: Sequence[ValueInfoProto], given: Mapping[str, Sequence[int]], batch: int | None = None
) -> dict[str, TensorType]:
    """The static type of each input by name; ModelError where one is not settled or not a tensor."""
    dims = {info.name: declared(info) for info in infos}
    check_names(given, dims)
    for name, shape in given.items():
        _check_given(name, dims[name], shape)
    symbols = _symbols(dims, given)
    free = _batched(dims)
    shapes: dict[str, Dims] = {
        name: list(given[name])
        if name in given
        else shape and [symbols.get(d, d) if isinstance(d, str) else d for d in shape]
        for name, shape in dims.items()
    }
    shapes, note = _settled_batch(shapes, free, given, batch)
    missing = {n: s for n, s in shapes.items() if s is None or any(not isinstance(d, int) for d in s)}
    if missing:
        raise _unsettled(missing, dims)
    if note:
        warnings.warn(note, ModelNote, stacklevel=2)
    return {info.name: type_of(info, shapes[info.name] or []) for info in infos}


def type_of(info: ValueInfoProto, shape: Sequence[Dim]) -> TensorType:
    """The input's type with this shape; ModelError where it is no tensor, or of an unknown type."""
    if not info.type.HasField("tensor_type"):
        raise ModelError(f"input '{shown(info.name)}' is not a tensor")
    try:
        dtype = dtype_of(info.type.tensor_type.elem_type)
        return TensorType(tuple(d for d in shape if isinstance(d, int)), dtype)
    except ValueError as error:
        raise ModelError(f"input '{shown(info.name)}': {error}") from None
