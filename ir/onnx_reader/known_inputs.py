"""Inputs that are known beforehand: numbers as a user gives them, as arrays of the input's type and shape."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from onnx import ValueInfoProto

from ..errors import ModelError
from ..support.shown import shown
from ..types import DType
from .inputs import Dims, check_names, declared, fits, show, type_of
from .tensors import Array


def known_inputs(
    infos: Sequence[ValueInfoProto], shapes: Mapping[str, Sequence[int]], given: Mapping[str, Any]
) -> dict[str, Array]:
    """The arrays of the inputs that `given` holds; ModelError where one is no input or does not fit.

    An array is taken as it is and must have the input's type. A number or a list (of lists) is read as
    the input's type, and must be one of its values; integers become floats as they round. A flat list
    fills the input row by row, and one number fits an input of one element, whatever its rank. `shapes`
    settles what the file leaves open of an input's shape.
    """
    declarations = {info.name: info for info in infos}
    check_names(given, declarations)
    return {
        name: _array(declarations[name], shapes.get(name, declared(declarations[name])), value)
        for name, value in given.items()
    }


def _array(info: ValueInfoProto, dims: Dims, value: Any) -> Array:
    dtype, name = type_of(info, ()).dtype, shown(info.name)
    if isinstance(value, np.ndarray | np.generic):
        found: Array = np.asarray(value)
        if found.dtype != dtype.numpy:
            raise ModelError(f"input '{name}' is {dtype.value}, the constant given is {found.dtype}")
    else:
        found = _typed(name, dtype, value)
    shape = _shape(dims, found)
    if shape is None:
        raise ModelError(f"input '{name}' has shape {show(dims)}; {_counted(found)} not fit")
    return found.reshape(shape)


def _counted(array: Array) -> str:
    if array.ndim > 1:
        return f"a constant of {show(array.shape)} does"
    return f"{array.size} value{'s do' if array.size != 1 else ' does'}"


def _typed(name: str, dtype: DType, value: Any) -> Array:
    """Python numbers as an array of `dtype`."""
    objects = np.array(value, dtype=object)
    for element in objects.reshape(-1):
        if not _is_of(dtype, element):
            raise ModelError(f"input '{name}' is {dtype.value}; {element!r} is no value of it")
    return objects.astype(dtype.numpy)


def _is_of(dtype: DType, element: Any) -> bool:
    if not isinstance(element, bool | int | float):
        return False
    if dtype == DType.BOOL:
        return element in (0, 1)
    if dtype.is_float:
        return _is_float(dtype, element)
    limits: Any = np.iinfo(dtype.numpy)
    return math.isfinite(element) and element == int(element) and limits.min <= element <= limits.max


def _is_float(dtype: DType, element: float) -> bool:
    """Whether a number is one of the type's once it is rounded: infinities are, too large numbers are not."""
    try:
        with np.errstate(over="ignore"):
            return not math.isfinite(element) or bool(np.isfinite(dtype.numpy.type(float(element))))
    except OverflowError:
        return False


def _shape(dims: Dims, array: Array) -> tuple[int, ...] | None:
    """The shape in which `array` is the input, declared as `dims`; None where it does not fit."""
    if fits(dims, array.shape):
        return tuple(array.shape)
    if dims is None or array.ndim > 1:
        return None
    shape = [d if isinstance(d, int) else None for d in dims]
    known, free = math.prod(d for d in shape if d is not None), shape.count(None)
    rest = array.size // known if free and known else 1
    if known * rest != array.size or (free > 1 and rest != 1):
        return None
    return tuple(rest if d is None else d for d in shape)
