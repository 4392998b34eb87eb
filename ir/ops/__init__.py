"""The operator set. Importing this package declares every operator; `secateur.ir.registry` finds them.

`nn.` and `q.` operators are what the reader makes; each has a `prim.` twin with
the same meaning, for which a primitive and layouts have been chosen.
"""

from dataclasses import replace

from . import (
    carried,
    compute,
    elementwise,
    linear,
    logic,
    movement,
    normalize,
    places,
    quantize,
    recurrent,
    reduce,
    tflite,
)
from .rows import register, rows

FAMILIES = (
    carried, compute, elementwise, linear, logic, movement, normalize, places, quantize, recurrent, reduce,
    tflite,
)  # fmt: skip

for _row in [row for row in rows().values() if row.name != "nn.constant"]:
    register(replace(_row, name="prim." + _row.name.split(".", 1)[1]))
