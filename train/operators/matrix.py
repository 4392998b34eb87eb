"""Matrix products."""

from __future__ import annotations

import torch

from ...ir.graph import Operator
from .step import Rule, Step, epilogue_of


def matmul(op: Operator) -> Step:
    epilogue = epilogue_of(op)
    return lambda tensors, _training: epilogue(torch.matmul(tensors[0], tensors[1]), tensors[2:])


RULES: dict[str, Rule] = {"nn.matmul": matmul}
