"""How attributes are written: by the printer, and in messages."""

from __future__ import annotations

import json
from typing import Any

from .elementwise import Step
from .types import format_float


def written(value: Any) -> str:
    """The attribute's value in the text form: `[1, 1]`, `0.5`, `"same"`, `[add, clip(0.0, 6.0)]`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, Step):
        return _step(value)
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(written, value))}]"
    return str(value)


def _step(step: Step) -> str:
    return f"{step.op}({', '.join(map(format_float, step.params))})" if step.params else step.op
