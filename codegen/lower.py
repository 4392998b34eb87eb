"""Lowering: a placed graph becomes a `Program`.

Every operator asks its primitive for a kernel; equal kernels are compiled once
and kept in the cache. A reshape whose bytes stay as they are is a view and
emits nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph, Operator, Value
from secateur.ir.support.progress import Progress, silent

from .alignment import aligned
from .build import build_kernels
from .cache import kernel_symbol
from .decisions import check_decisions, may_overwrite
from .kernel import Kernel
from .primitives.operator import Argument, Array, Constant, Operand, Result, Scratch, Stage, constant_of
from .primitives.registry import Primitives
from .program import Call, Port, Program, Ref, Space
from .targets.target import Target
from .weights.decoding import most_room
from .weights.fetching import Region, fetch
from .weights.network import network_table
from .weights.origin import Origin
from .weights.pacing import is_paced, paced
from .weights.registry import holds_filters
from .weights.storing import PLAIN, coded
from .weights.streams import Codecs
from .weights.transforms import Made, transformed
from .worker import Compile


@dataclass
class _Weights:
    """The constants of a program, each stored once."""

    arrays: list[Array] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    stored: list[str] = field(default_factory=list)
    end: int = 0
    origins: list[Made] = field(default_factory=list)
    _known: dict[tuple[str, bytes], int] = field(default_factory=dict)

    def place(self, array: Array, stored: str) -> Ref:
        """Where the array lies; where it is there already, it stays stored as it is."""
        key = (f"{array.dtype} {array.shape}", hashlib.sha256(np.ascontiguousarray(array).data).digest())
        if key not in self._known:
            self._known[key] = self.end
            self.arrays.append(array)
            self.offsets.append(self.end)
            self.stored.append(stored)
            self.end += aligned(max(array.nbytes, 1))
        return Ref(Space.WEIGHTS, offset=self._known[key])

    def make(self, origin: Origin, codec: str, places: Sequence[Ref], before: int) -> None:
        """What comes from `origin` among the arguments at `places` is made of it.

        Where it does not all lie from `before` on, an operator of equal constants came earlier.
        """
        made = [places[number].offset for number in origin.made]
        factors = places[origin.factors].offset if origin.factors >= 0 else 0
        if min(made) >= before:
            self.origins.append(Made(origin, codec, tuple(made), factors))

    @property
    def are_made(self) -> list[bool]:
        """Whether each array is made of another."""
        made = {offset for row in self.origins for offset in row.offsets}
        return [at in made for at in self.offsets]

    @property
    def held(self) -> list[tuple[Array, str]]:
        """What the artifact holds, and by what it is to be stored: arrays that are not made, then sources."""
        read = zip(self.arrays, self.stored, self.are_made, strict=True)
        sources = [(array, row.codec) for row in self.origins for array in row.origin.sources]
        return [*((array, stored) for array, stored, made in read if not made), *sources]

    def paced(self, target: Target) -> tuple[list[Codecs], list[Codecs]]:
        """By what arrays are coded on a target, and the sources of those that are made."""
        held = self.held
        codecs = iter(paced([array for array, _ in held], [stored for _, stored in held], target))
        made = zip(self.stored, self.are_made, strict=True)
        stored = [own if is_made else next(codecs) for own, is_made in made]
        return stored, list(codecs)


@dataclass
class _Lowering:
    """One graph on its way to a program."""

    graph: Graph
    target: Target
    primitives: Primitives
    weights: _Weights = field(default_factory=_Weights)
    kernels: dict[str, Kernel] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    regions: list[Region] = field(default_factory=list)

    @cached_property
    def ports(self) -> dict[Value, Ref]:
        """The caller's buffers; a value that is both an input and an output is the input."""
        outputs = {v: Ref(Space.OUTPUT, index=i) for i, v in enumerate(self.graph.outputs)}
        return outputs | {v: Ref(Space.INPUT, index=i) for i, v in enumerate(self.graph.inputs)}

    def place(self, value: Value) -> Ref:
        """Where a value lives: caller's buffer, weights, or arena."""
        if value in self.ports:
            return self.ports[value]
        constant = constant_of(value)
        if constant is not None:
            return self.weights.place(constant, _stored([value]))
        assert value.producer is not None
        offset = value.producer["offset"][value.producer.results.index(value)]
        return Ref(Space.ARENA, offset=offset)

    def lower(self, op: Operator) -> None:
        if self.stays_in_place(op):
            return
        primitive, before, places = self.primitives.find(op), self.weights.end, list[Ref]()
        codec, first = _stored(op.operands), len(self.calls)
        if op.get("streamed", 0):
            self.regions.append(Region(op["streamed_offset"], op["streamed"], codec))
        for stage in primitive.stages(op, self.target):
            places += self.call(op, stage)
        if op.get("streamed", 0):
            self.fetch(op, first)
            return
        if holds_filters(codec) and (origin := primitive.origin(op, self.target)) is not None:
            self.weights.make(origin, codec, places, before)

    def call(self, op: Operator, stage: Stage) -> list[Ref]:
        """One of an operator's kernels; where those of its pointers are that `Primitive.arguments` has."""
        places = [self.argument(op, a) for a in stage.arguments]
        kernel = replace(stage.kernel, overwritten=_overwritten(op, stage, places))
        symbol = kernel_symbol(kernel, self.target)
        self.kernels[symbol] = kernel
        self.calls.append(Call(symbol, tuple(places), kernel.tasks, op.loc or op.name, op.name,
                               op.get("workspace_offset", -1), op.macs if stage.macs else 0,
                               kernel.threads))  # fmt: skip
        given = zip(places, stage.arguments, strict=True)
        return [place for place, argument in given if isinstance(argument, (Operand, Constant))]

    def fetch(self, op: Operator, first: int) -> None:
        """The operator's region is filled before its first call; SecateurError where it is too small."""
        region = self.regions[-1]
        codec = region.codec or PLAIN
        needed = region.end + most_room(PLAIN if is_paced(codec, self.target) else codec)
        if needed > region.size:
            raise SecateurError(
                f"{op.called}: its constants are decoded in {needed} bytes of the arena, "
                f"'streamed' gives them {region.size}"
            )
        self.calls[first] = replace(self.calls[first], fetch=len(self.regions) - 1)

    def constant(self, op: Operator, array: Array, stored: str) -> Ref:
        """Where a kernel finds a constant: among the weights, or in the operator's region of the arena."""
        if op.get("streamed", 0):
            return Ref(Space.ARENA, offset=self.regions[-1].place(array))
        return self.weights.place(array, stored)

    def argument(self, op: Operator, given: Argument | Result | Scratch) -> Ref:
        if isinstance(given, Operand):
            value = op.operands[given.index]
            constant = constant_of(value) if value not in self.ports else None
            return self.place(value) if constant is None else self.constant(op, constant, _stored([value]))
        if isinstance(given, Result):
            return self.place(op.results[given.index])
        if isinstance(given, Scratch):
            return Ref(Space.ARENA, offset=op["workspace_offset"] + given.offset)
        return self.constant(op, given.array, _stored(op.operands))

    def table(self) -> bytes:
        """What the streams of the program have in common."""
        streamed = ((array, region.codec) for region in self.regions for array in region.arrays)
        return network_table([*self.weights.held, *streamed])

    def stays_in_place(self, op: Operator) -> bool:
        """Whether a view's or a join's operands already lie where the result wants them."""
        if op["primitive"] not in ("view", "join"):
            return False
        place = self.place(op.result)
        for operand in op.operands:
            if self.place(operand) != place:
                return False
            place = replace(place, offset=place.offset + operand.type.bytes)
        return True


def _stored(operands: Sequence[Value]) -> str:
    """The codec of what is made of an operator's constants: the largest one's."""
    constants = [v.producer for v in operands if v.producer is not None and v.is_constant]
    largest = max(constants, key=lambda op: op["value"].nbytes, default=None)
    return "" if largest is None else str(largest["stored"])


def _overwritten(op: Operator, stage: Stage, places: Sequence[Ref]) -> tuple[int, ...]:
    """The pointers that a result shares; SecateurError where the kernel needs one of them to the end.

    What has no elements takes no bytes, and may lie anywhere.
    """
    given = list(zip(stage.arguments, places, strict=True))
    results = [(place, op.results[a.index]) for a, place in given if isinstance(a, Result)]
    shared, filled = {place for place, _ in results}, {place for place, r in results if r.type.bytes}
    found = tuple(i for i, (a, place) in enumerate(given) if place in shared and not isinstance(a, Result))
    for argument in (given[i][0] for i in found if given[i][1] in filled):
        if isinstance(argument, Operand) and not op.operands[argument.index].type.bytes:
            continue
        if not isinstance(argument, Operand) or not may_overwrite(op, argument.index):
            raise SecateurError(
                f"{op.called}: primitive '{op['primitive']}' may not write its result where it lies, "
                "over an operand"
            )
    return found


def _ports(values: Sequence[Value], names: Sequence[str]) -> tuple[Port, ...]:
    return tuple(Port(n, v.type.dtype.value, v.type.shape) for v, n in zip(values, names, strict=True))


def arena_bytes(graph: Graph) -> int:
    """Up to the end of the last result or workspace in the arena; SecateurError where any has no place."""
    ends = [0]
    for op in graph.operators:
        if op.name != "nn.constant":
            ends += _ends(op)
    return max(ends)


def _ends(op: Operator) -> Iterator[int]:
    places = op.get("offset", ())
    if len(places) != len(op.results):
        raise SecateurError("the graph has no places yet; run the pass 'memory' first")
    yield from (at + aligned(r.type.bytes) for at, r in zip(places, op.results, strict=True) if at >= 0)
    for name in ("workspace", "streamed"):
        if size := op.get(name, 0):
            yield op[f"{name}_offset"] + aligned(size)


def lower(
    graph: Graph,
    target: Target,
    primitives: Primitives,
    compile: Compile,
    manifest: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Program:
    """The program of a placed graph, of kernels that `primitives` give and `compile` makes modules of.

    SecateurError where a decision that the graph carries is impossible (it may have been edited by hand).
    """
    check_decisions(graph, target, primitives)
    lowering = _Lowering(graph, target, primitives)
    for op in graph.operators:
        if op.name != "nn.constant":
            lowering.lower(op)
    weights, table = lowering.weights, lowering.table()
    fetches = tuple(fetch(region, target, table) for region in lowering.regions)
    stored, sources = weights.paced(target)
    transforms = transformed(weights.origins, sources, progress, table)
    return Program(
        name=graph.name,
        target=target,
        inputs=_ports(graph.inputs, [v.name for v in graph.inputs]),
        outputs=_ports(graph.outputs, graph.output_names),
        calls=tuple(lowering.calls),
        modules=build_kernels(lowering.kernels, target, compile, progress),
        weights=tuple(weights.arrays),
        weight_offsets=tuple(weights.offsets),
        arena_bytes=arena_bytes(graph),
        workspace_bytes=max((op.get("workspace", 0) for op in graph.operators), default=0),
        manifest=dict(manifest or {}),
        streams=coded(
            weights.arrays,
            [codec or (PLAIN if fetches else "") for codec in stored],
            progress,
            weights.are_made,
            table,
        ),
        table=table,
        transforms=transforms,
        fetches=fetches,
        kernels=lowering.kernels,
    )
