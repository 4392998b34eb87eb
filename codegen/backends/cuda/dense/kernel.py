"""The kernels of `dense_blocks`: a block of threads reads weights side by side and adds in shared memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import gcd
from typing import Any

from ....kernel import Kernel
from ....primitives.conv.ending import Finish, pointers
from ....primitives.dense.int8 import LinearDenseSpec
from ....primitives.specs import DenseSpec
from ....tir import T, prim_func, splat, store, view, when
from ....vector.requantize import Requantize
from ....vector.shuffles import hold
from ..block import Words, barrier, thread
from ..implicit_gemm_kernel import held
from .schedule import PARTS, THREADS, WORDS, DenseTile, Product

Expr = Any
Buffer = Any
_PAIR = "float16x2"


@dataclass(frozen=True)
class DenseKey:
    """What determines the code; `dot`: four bytes times four are one instruction."""

    layer: DenseSpec | LinearDenseSpec
    product: Product
    tile: DenseTile
    dot: bool

    @property
    def dtype(self) -> str:
        """Of words; two binary16 are the bits of an integer."""
        return "float32" if self.product.element_bytes == 4 else "int32"

    @property
    def summed(self) -> str:
        """The type of sums."""
        return "int32" if self.product.element_bytes == 1 else "float32"


def kernels(name: str, key: DenseKey) -> tuple[Kernel, ...]:
    """The kernel, or the two where sums are of several blocks."""
    tile, tasks = key.tile, key.tile.tasks(key.product)
    if tile.splits == 1:
        build = partial(_build, key)
        return (Kernel(name, key, build, tasks, tile.shared_bytes, threads=THREADS),)
    build = partial(_build_parts, key)
    blocks = -(-key.product.batch * key.product.outputs // THREADS)
    return (
        Kernel(f"{name}_parts", key, build, tasks, tile.shared_bytes, threads=THREADS),
        Kernel(f"{name}_sum", key, partial(_build_sum, key), blocks, threads=THREADS),
    )


def _pointers(key: DenseKey) -> list[Any]:
    if isinstance(key.layer, DenseSpec):
        return [*pointers(key.layer)]
    typed = [("data", "uint8"), ("weights", "int8"), ("starts", "int32")]
    return [*typed, "multipliers", "parameters", ("output", key.layer.ending.result)]


def _place_of_weights(key: DenseKey) -> int:
    return 1 + (len(key.layer.extras) if isinstance(key.layer, DenseSpec) else 0)


def _build(key: DenseKey) -> Any:
    def body(data: Buffer, *buffers: Buffer) -> None:
        *given, shared, block, _ = buffers
        weights = given.pop(_place_of_weights(key) - 1)
        _Block(key, data, weights, shared, block).emit(_ending(key, given).store)

    return prim_func(_pointers(key), body)


def _build_parts(key: DenseKey) -> Any:
    given = _pointers(key)

    def body(data: Buffer, weights: Buffer, output: Buffer, shared: Buffer, block: Expr, _: Expr) -> None:
        product, made = key.product, _Block(key, data, weights, shared, block)

        def keep(total: Expr, row: Expr, column: Expr) -> None:
            store(output, (made.part * product.batch + row) * product.outputs + column, total, 1)

        made.emit(keep)

    return prim_func([given[0], given[_place_of_weights(key)], ("output", key.summed)], body)


def _build_sum(key: DenseKey) -> Any:
    """(operands of the epilogue, partial sums, constants of the ending) to the result; a thread's is one."""
    given, place, product = _pointers(key)[1:], _place_of_weights(key) - 1, key.product
    given[place] = ("parts", key.summed)

    def body(*buffers: Any) -> None:
        *rest, _, block, _ = buffers
        parts, number = rest.pop(place), held(block * THREADS + thread())
        count = product.batch * product.outputs
        with when(number < count):
            total = hold(parts[number], 1, key.summed)
            for part in range(1, key.tile.splits):
                total = hold(total + parts[number + part * count], 1, key.summed)
            row, column = T.truncdiv(number, product.outputs), held(T.truncmod(number, product.outputs))
            _ending(key, rest).store(total, row, column)

    return prim_func(given, body)


# Endings ---------------------------------------------------------------------------------------------


class _FloatEnding:
    """Bias and epilogue of one sum; one of binary16 is rounded once, when its bias is added."""

    def __init__(self, key: DenseKey, buffers: list[Buffer]) -> None:
        spec = key.layer
        assert isinstance(spec, DenseSpec)
        count = len(spec.extras)
        self.spec, self.outputs, self.output = spec, key.product.outputs, buffers[-1]
        self.finish = Finish(spec, 1, tuple(buffers[:count]), buffers[count] if spec.bias else None)

    def store(self, total: Expr, row: Expr, column: Expr) -> None:
        index = held(row * self.outputs + column)
        value = hold(total + self.finish.start(column).astype("float32"), 1)
        value = hold(value.astype(self.spec.dtype), 1, self.spec.dtype)
        store(self.output, index, self.finish.applied(value, index, column), 1)


class _BytesEnding:
    """Requantization of one sum."""

    def __init__(self, key: DenseKey, buffers: list[Buffer]) -> None:
        assert isinstance(key.layer, LinearDenseSpec)
        self.starts, multipliers, parameters, self.output = buffers
        self.outputs = key.product.outputs
        self.requantize = Requantize(key.layer.ending, 1, parameters, multipliers)

    def store(self, total: Expr, row: Expr, column: Expr) -> None:
        index, whole = held(row * self.outputs + column), hold(total + self.starts[column], 1, "int32")
        store(self.output, index, self.requantize.of_sum(whole, index, column), 1)


def _ending(key: DenseKey, buffers: list[Buffer]) -> _FloatEnding | _BytesEnding:
    return (_FloatEnding if isinstance(key.layer, DenseSpec) else _BytesEnding)(key, buffers)


# Sums ------------------------------------------------------------------------------------------------


class _Block:
    """A block of threads; `emit` takes what becomes of a sum: (sum, row, column)."""

    def __init__(self, key: DenseKey, data: Buffer, weights: Buffer, shared: Buffer, block: Expr) -> None:
        self.key, self.tile, self.product = key, key.tile, key.product
        self.weights, self.shared = view(weights, key.dtype), view(shared, key.summed)
        tile, down, across = self.tile, self.tile.down(self.product), self.tile.across(self.product)
        self.thread, number = held(thread()), held(block)
        self.first_row = held(T.truncmod(number, down) * tile.rows)
        self.across = held(T.truncmod(T.truncdiv(number, down), across))
        self.part = held(T.truncdiv(number, down * across))
        self.lane = held(T.truncmod(self.thread, tile.lanes))
        self.inputs = _Inputs(key, data)

    def emit(self, keep: Any) -> None:
        tile = self.tile
        self.sums = Words(tile.sums, self.key.summed)
        for at in range(tile.sums):
            self.sums[at] = splat(0, 1, self.key.summed)
        first, count = self._steps()
        whole = held(T.truncdiv(count, tile.at_once))
        with T.serial(0, whole) as turn:
            self._add(held(first + turn * tile.at_once), tile.at_once)
        if tile.at_once > 1 and (tile.splits > 1 or tile.steps(self.product) % tile.at_once):
            with T.serial(0, count - whole * tile.at_once) as rest:
                self._add(held(first + whole * tile.at_once + rest), 1)
        self._share()
        if tile.added:
            self._add_parts()
        self._finish(keep)

    def _steps(self) -> tuple[Expr, Expr]:
        """The first step of this block's sums, and how many there are."""
        steps, most = self.tile.steps(self.product), self.tile.part(self.product)
        first = held(self.part * most)
        return first, held(T.min(most, steps - first))

    def _add(self, step: Expr, count: int) -> None:
        """Products of `count` steps: all loads, then what is done with them."""
        tile, steps = self.tile, self.tile.steps(self.product)
        weights = Words(WORDS * count * tile.outputs, self.key.dtype)
        first = held(((self.across * steps + step) * tile.outputs * THREADS + self.thread) * WORDS)
        for at in range(count * tile.outputs):
            weights.fetch(WORDS * at, self.weights, first + at * THREADS * WORDS, WORDS)
        for row in range(tile.rows):
            place = held(T.min(self.first_row + row, self.product.batch - 1)) if row else self.first_row
            inputs = [self.inputs.fetch(place, (step + k) * tile.lanes + self.lane) for k in range(count)]
            for k in range(count):
                for output in range(tile.outputs):
                    at = WORDS * (k * tile.outputs + output)
                    self._multiply(row * tile.outputs + output, inputs[k], weights, at)

    def _multiply(self, at: int, inputs: Words, weights: Words, first: int) -> None:
        """Adds the products of an access; pairs of binary16 are added as such, then in float32."""
        if self.key.product.element_bytes != 2:
            for word in range(WORDS):
                self.sums[at] = self._product(inputs[word], weights[first + word], self.sums[at])
            return
        pair = hold(splat(0, 2, "float16"), 2, "float16")
        for word in range(WORDS):
            pairs = (T.reinterpret(_PAIR, v) for v in (inputs[word], weights[first + word]))
            pair = hold(T.fma(*pairs, pair), 2, "float16")
        for half in (0, 1):
            self.sums[at] = self.sums[at] + T.Shuffle([pair], [half]).astype("float32")

    def _product(self, a: Expr, b: Expr, total: Expr) -> Expr:
        if self.key.dtype == "float32":
            return T.fma(a, b, total)
        if self.key.dot:
            return T.call_llvm_pure_intrin("int32", "llvm.nvvm.idp4a.u.s", a, b, total)
        for place in range(0, 32, 8):
            total = total + ((a >> place) & 255) * ((b << (24 - place)) >> 24)
        return total

    # In shared memory: sum s of group g and lane l at (s * groups + g) * group_pitch + l ------------------

    def _share(self) -> None:
        tile = self.tile
        own = held(T.truncdiv(self.thread, tile.lanes) * tile.group_pitch + self.lane)
        for at in range(tile.sums):
            store(self.shared, own + at * tile.groups * tile.group_pitch, self.sums[at], 1)
        barrier()

    def _add_parts(self) -> None:
        """Of each total, `PARTS` threads add what lies that far apart."""
        tile = self.tile
        for number in self._shares(tile.totals * PARTS):
            total, part = held(T.truncdiv(number, PARTS)), held(T.truncmod(number, PARTS))
            places = (total * tile.group_pitch + part + far for far in range(0, tile.lanes, PARTS))
            store(self.shared, self._parts + total * (PARTS + 1) + part, self._sum_of(places), 1)
        barrier()

    @property
    def _parts(self) -> int:
        """Where these lie."""
        return self.tile.totals * self.tile.group_pitch

    def _sum_of(self, places: Iterator[Expr]) -> Expr:
        total = hold(self.shared[next(places)], 1, self.key.summed)
        for place in places:
            total = hold(total + self.shared[place], 1, self.key.summed)
        return total

    def _shares(self, count: int) -> Iterator[Expr]:
        """This thread's of so many numbers."""
        for first in range(0, count, THREADS):
            number = held(self.thread + first)
            with when(True if first + THREADS <= count else number < count):
                yield number

    def _finish(self, keep: Any) -> None:
        tile, product = self.tile, self.product
        count, pitch, start = (
            (PARTS, PARTS + 1, self._parts) if tile.added else (tile.lanes, tile.group_pitch, 0)
        )
        for number in self._shares(tile.totals):
            row = held(self.first_row + T.truncdiv(number, tile.filled))
            column = held(self.across * tile.filled + T.truncmod(number, tile.filled))
            with when(T.And(row < product.batch, column < product.outputs)):
                places = (start + number * pitch + k for k in range(count))
                keep(self._sum_of(places), row, column)


class _Inputs:
    """Accesses to rows of the batch, past whose ends are zeros."""

    def __init__(self, key: DenseKey, data: Buffer) -> None:
        self.key, self.product = key, key.product
        self.width = gcd(self.product.inputs, self.product.elements)  # elements that never leave a row
        self.data = view(data, {1: "uint8", 2: "uint16", 4: "float32"}[self.product.element_bytes])
        self.words = view(data, key.dtype)

    def fetch(self, row: Expr, chunk: Expr) -> Words:
        """Words number `chunk` of a row, four at a time."""
        product, found, number = self.product, Words(WORDS, self.key.dtype), held(chunk)
        size, element = self.width * product.element_bytes, held(number * product.elements)
        row_start = held(row * product.inputs)
        if size < WORDS:
            self._compose(found, row_start, element)
            return found
        words = size // WORDS
        for at in range(0, WORDS, words):
            place = element + at * WORDS // product.element_bytes
            index = T.truncdiv(row_start + place, WORDS // product.element_bytes)
            with T.If(place < product.inputs):
                with T.Then():
                    found.fetch(at, self.words, index, words)
                with T.Else():
                    found.put(at, splat(0, words, self.key.dtype), words)
        return found

    def _compose(self, found: Words, row_start: Expr, element: Expr) -> None:
        """Of elements that are no words, each by itself."""
        size = self.product.element_bytes
        for word in range(WORDS):
            total: Expr = T.int32(0)
            for i in range(WORDS // size):
                place = element + word * (WORDS // size) + i
                inside = place < self.product.inputs
                value = T.if_then_else(inside, self.data[row_start + place], T.Cast(self.data.dtype, 0))
                total = total | (value.astype("int32") << (8 * size * i))
            found[word] = total
