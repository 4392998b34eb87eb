"""Limits on memory and latency, as options of the pass `select`."""

from __future__ import annotations

import math
from dataclasses import replace

from .ir.errors import SecateurError
from .passes.pipeline import format_pipeline, parse_pipeline
from .passes.select import Select


def limited(pipeline: str, memory: int | None = None, latency: float | None = None) -> str:
    """The pipeline's text with a limit of `memory` bytes of arena and `latency` seconds in its pass `select`.

    SecateurError where no pass chooses primitives, or a limit is no number from 0 on.
    """
    if memory is None and latency is None:
        return pipeline
    for name, limit in (("memory", memory), ("latency", latency)):
        if limit is not None and not 0 <= limit < math.inf:
            raise SecateurError(f"{name} must be a number from 0 on, is {limit}")
    steps = parse_pipeline(pipeline)
    if not any(isinstance(step, Select) for step in steps):
        raise SecateurError("limits are kept by choosing primitives; here they have been chosen already")
    return format_pipeline(
        replace(step, memory=memory, seconds=latency) if isinstance(step, Select) else step for step in steps
    )


def chosen_pipeline(given: str | None, default: str, memory: int | None, latency: float | None) -> str:
    """The pipeline that the caller gives, else the default under limits; SecateurError for both together."""
    if given is None:
        return limited(default, memory, latency)
    if memory is not None or latency is not None:
        instead = "write select{memory=4MiB} or select{seconds=0.02} into it"
        raise SecateurError(f"limits on memory and latency do not go together with a pipeline; {instead}")
    return given
