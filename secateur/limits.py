"""Limits on memory, latency and accuracy, as options of the pass `select`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from .ir.errors import SecateurError
from .passes.framework.pipeline import format_pipeline, parse_pipeline
from .passes.select.select import Select


def limited(
    pipeline: str,
    memory: int | None = None,
    latency: float | None = None,
    min_sqnr: float | None = None,
    without: str | Sequence[str] = (),
    strict: bool = False,
) -> str:
    """The pipeline's text with limits in its pass `select`.

    `memory` are bytes of arena, `latency` seconds on one core, `min_sqnr` dB that the errors of the
    primitives may add up to; `without` names forbidden ones, as `winograd6` or `winograd6@node`;
    `strict` forbids those that spread infinities and NaN.
    SecateurError where no pass chooses primitives, or a limit is no number from 0 on.
    """
    numbers = {"memory": memory, "latency": latency, "min_sqnr": min_sqnr}
    for name, limit in numbers.items():
        if limit is not None and not 0 <= limit < math.inf:
            raise SecateurError(f"{name} must be a number from 0 on, is {limit}")
    names = without if isinstance(without, str) else "\n".join(without)
    given: dict[str, Any] = {"memory": memory, "seconds": latency, "sqnr": min_sqnr, "without": names or None}
    given["strict"] = strict or None
    options = {name: value for name, value in given.items() if value is not None}
    return _with_options(pipeline, options) if options else pipeline


def _with_options(pipeline: str, options: dict[str, Any]) -> str:
    steps = parse_pipeline(pipeline)
    if not any(isinstance(step, Select) for step in steps):
        raise SecateurError("limits are kept by choosing primitives; here they have been chosen already")
    return format_pipeline(replace(step, **options) if isinstance(step, Select) else step for step in steps)


def chosen_pipeline(
    given: str | None,
    default: str,
    memory: int | None = None,
    latency: float | None = None,
    min_sqnr: float | None = None,
    without: str | Sequence[str] = (),
    strict: bool = False,
) -> str:
    """The pipeline that the caller gives, else the default under limits; SecateurError for both together."""
    if given is None:
        return limited(default, memory, latency, min_sqnr, without, strict)
    limits: dict[str, Any] = {
        "memory": memory,
        "latency": latency,
        "min_sqnr": min_sqnr,
        "without": without or None,
    }
    limits["strict"] = strict or None
    if several := [name for name, limit in limits.items() if limit is not None]:
        instead = "write it into that, such as select{memory=4MiB,seconds=0.02,sqnr=110}"
        raise SecateurError(f"a limit ({', '.join(several)}) does not go together with a pipeline; {instead}")
    return given
