"""Element-wise operators: the functions of one row each, chains of them, casts, selection, logic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...ir.elementwise import FUNCTIONS as ROWS
from ...ir.graph import Operator
from .functions import FUNCTIONS
from .step import Rule, Step, epilogue_of, plain, torch_dtype


def _of_row(function: Callable[..., Tensor], names: tuple[str, ...]) -> Rule:
    def rule(op: Operator) -> Step:
        params = [op[name] for name in names]
        return lambda tensors, _training: function(*tensors, *params)

    return rule


def map_(op: Operator) -> Step:
    epilogue = epilogue_of(op)
    return lambda tensors, _training: epilogue(tensors[0], tensors[1:])


def cast(op: Operator) -> Step:
    dtype = torch_dtype(op["dtype"])
    return lambda tensors, _training: tensors[0].to(dtype)


RULES: dict[str, Rule] = {
    **{f"nn.{name}": _of_row(FUNCTIONS[name], row.params) for name, row in ROWS.items() if name in FUNCTIONS},
    "nn.map": map_,
    "nn.cast": cast,
    "nn.where": plain(torch.where),
    "nn.equal": plain(torch.eq),
    "nn.greater": plain(torch.gt),
    "nn.greater_equal": plain(torch.ge),
    "nn.less": plain(torch.lt),
    "nn.less_equal": plain(torch.le),
    "nn.and": plain(torch.logical_and),
    "nn.or": plain(torch.logical_or),
    "nn.xor": plain(torch.logical_xor),
    "nn.not": plain(torch.logical_not),
}
