"""What is computed of a layer's weights, kept as long as they are: selection asks for it many times."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Any, TypeVar

from numpy.typing import NDArray

Found = TypeVar("Found")


def remembered(function: Callable[..., Found]) -> Callable[..., Found]:
    """`function` of an array that nobody changes, and of hashable arguments, computed once."""
    known: dict[tuple[Hashable, ...], tuple[weakref.ref[NDArray[Any]], Found]] = {}

    @wraps(function)
    def ask(array: NDArray[Any], *more: Hashable) -> Found:
        key = (id(array), *more)
        found = known.get(key)
        if found is None or found[0]() is not array:
            found = weakref.ref(array, lambda _: known.pop(key, None)), function(array, *more)
            known[key] = found
        return found[1]

    return ask
