"""A graph of the IR as a PyTorch module, and back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..ir.graph import Graph, Operator, Value
from .batch import rebatched
from .learned import Role, constants, role_of
from .operators import Step, step_of

Feeds = Mapping[str, Tensor]
Steps = Callable[[Operator, int], Step]
"""What an operator of the graph at some batch does, given it and its number in the graph."""


@dataclass(frozen=True, eq=False)
class _Planned:
    """One operator: its number, what it does, to which values, and which of them nobody reads after it."""

    number: int
    step: Step
    operands: tuple[Value, ...]
    result: Value
    dead: tuple[Value, ...]


@dataclass(frozen=True, eq=False)
class _Program:
    """The graph at one batch; `shared` says which tensor of the network each constant is."""

    inputs: tuple[Value, ...]
    shared: Mapping[Value, str]
    plan: tuple[_Planned, ...]
    outputs: tuple[Value, ...]


class Network(nn.Module):
    """The graph as a function of {input name: tensor} to {output name: tensor}, of any batch.

    In evaluation it computes what the interpreter computes, to the tolerance of the tensors' type; in
    training batch normalizations take the statistics of the batch. Parameters are the float constants that
    are learned (`secateur.train.learned`), running statistics are buffers; `constants` names them all as the
    graph does. ModelError where an operator cannot be trained, named, or the graph takes no batches.
    `steps` says what operators do, where that is not what they mean. `masks` are multiplied into the
    results of operators, by number.
    """

    def __init__(self, graph: Graph, steps: Steps = lambda op, _number: step_of(op)) -> None:
        super().__init__()
        self._steps = steps
        self.masks: dict[int, Tensor] = {}
        self._graph = graph.clone()
        self.names = _names(self._graph)
        self._keys = {
            value: f"{number}_{_key(name)}" for number, (value, name) in enumerate(self.names.items())
        }
        for value in self.names:
            self._register(value)
        self._programs: dict[int, _Program] = {}
        self._program(2)  # says now what will not do

    def _register(self, value: Value) -> None:
        assert value.producer is not None
        tensor = torch.from_numpy(np.array(value.producer["value"]))
        role = role_of(value)
        if role is Role.LEARNED:
            self.register_parameter(self._keys[value], nn.Parameter(tensor))
        else:
            self.register_buffer(self._keys[value], tensor, persistent=role is Role.RUNNING)

    def constant(self, value: Value) -> Tensor:
        """The tensor of a constant of `structure`."""
        tensor: Tensor = getattr(self, self._keys[value])
        return tensor

    @property
    def structure(self) -> Graph:
        """The graph whose form the network has; its constants are as of the last `refreshed`."""
        return self._graph

    def learned(self) -> list[Value]:
        """The constants of `structure` that are learned."""
        return [value for value in self.names if role_of(value) is Role.LEARNED]

    def forward(self, feeds: Feeds) -> dict[str, Tensor]:
        """Runs the batch that the first input has."""
        first = feeds[self._graph.inputs[0].name]
        program = self._program(first.shape[0])
        env: dict[Value, Tensor] = {v: feeds[v.name] for v in program.inputs}
        env.update((value, getattr(self, key)) for value, key in program.shared.items())
        for planned in program.plan:
            result = planned.step([env[v] for v in planned.operands], self.training)
            mask = self.masks.get(planned.number)
            env[planned.result] = result if mask is None else result * mask
            for value in planned.dead:
                del env[value]
        return {n: env[v] for v, n in zip(program.outputs, self._graph.output_names, strict=True)}

    def _program(self, batch: int) -> _Program:
        if batch not in self._programs:
            self._programs[batch] = self._planned(batch)
        return self._programs[batch]

    def _planned(self, batch: int) -> _Program:
        graph, mapping = rebatched(self._graph, batch)
        shared = {mapping[value]: key for value, key in self._keys.items()}
        numbers = {op: number for number, op in enumerate(graph.operators) if op.name != "nn.constant"}
        plan = tuple(
            _Planned(numbers[op], self._steps(op, numbers[op]), tuple(op.operands), op.result, dead)
            for op, dead in _lives(graph, list(numbers))
        )
        return _Program(tuple(graph.inputs), shared, plan, tuple(graph.outputs))

    def refreshed(self) -> Graph:
        """`structure` itself, its constants holding what the network has learned by now."""
        for value in self.names:
            op = value.producer
            assert op is not None
            op.attributes = {**op.attributes, "value": _array(self.constant(value), op)}
        return self._graph

    def graph(self) -> Graph:
        """A graph of the same form and names that holds what was learned."""
        return self.refreshed().clone()


def _names(graph: Graph) -> dict[Value, str]:
    """Every constant with its name in the graph, in order."""
    return {op.result: op.result.name for op in constants(graph)}


def _key(name: str) -> str:
    """A name that PyTorch takes: it allows no dots."""
    return name.replace(".", "_")


def _array(tensor: Tensor, op: Operator) -> np.ndarray[Any, Any]:
    """The tensor as the constant's array, row-major."""
    return np.array(tensor.detach().cpu().contiguous().numpy(), op.result.type.dtype.numpy)


def _lives(graph: Graph, operators: Sequence[Operator]) -> list[tuple[Operator, tuple[Value, ...]]]:
    """Each operator with the values that nobody reads after it."""
    kept = set(graph.outputs)
    last = {value: op for op in operators for value in (*op.operands, op.result)}
    dead: dict[Operator, list[Value]] = {op: [] for op in operators}
    for value, op in last.items():
        if value not in kept:
            dead[op].append(value)
    return [(op, tuple(dead[op])) for op in operators]
