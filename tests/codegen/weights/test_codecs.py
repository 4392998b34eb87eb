"""Every codec gives back every array, to the bit, and none makes noise longer than a few bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from secateur.codegen.weights.codec import StreamError
from secateur.codegen.weights.network import network_table
from secateur.codegen.weights.orders import Order, orders, read_order
from secateur.codegen.weights.planes import LEAST_PLACES, cuts
from secateur.codegen.weights.registry import CODECS, NAMES
from secateur.codegen.weights.streams import decode, encode, size

Array = NDArray[Any]
SHAPES = st.lists(st.integers(0, 9), max_size=5).map(tuple)
DTYPES = st.sampled_from(["int8", "uint8", "int16", "float32", "int32"])


def noise(shape: tuple[int, ...], seed: int, values: int, zeros: float, dtype: str = "int8") -> Array:
    """Integers of so many values, a share of which is zero; seen as another type they are arbitrary bits."""
    rng = np.random.default_rng(seed)
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    drawn = rng.integers(-values // 2, values // 2 + 1, count).astype(np.int8)
    drawn[rng.random(count) < zeros] = 0
    return drawn.view(dtype).reshape(shape)


def filters(shape: tuple[int, ...], seed: int = 0, scale: float = 25) -> Array:
    """Int8 weights of a bell curve whose taps are alike."""
    rng = np.random.default_rng(seed)
    drawn = rng.standard_normal(shape) + rng.standard_normal((*shape[:2], *(1 for _ in shape[2:])))
    return np.clip(np.round(drawn * scale), -127, 127).astype(np.int8)


def same(a: Array, b: Array) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=12, deadline=None)
@given(
    shape=SHAPES,
    dtype=DTYPES,
    seed=st.integers(0, 999),
    values=st.sampled_from([0, 2, 15, 254]),
    zeros=st.sampled_from([0, 0.5, 0.95]),
)
def test_any_array_comes_back(
    name: str, shape: tuple[int, ...], dtype: str, seed: int, values: int, zeros: float
) -> None:
    array = noise(shape, seed, values, zeros, dtype)
    table = network_table([(array, name)])
    stream = encode(array, name, table)
    assert same(decode(stream, array.dtype, array.shape, table), array)
    assert len(stream) + len(table) <= array.nbytes + 64


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(16, 8, 3, 3), (64, 64), (4096 * 3,), (8, 4, 5, 5)])
def test_filters_come_back(name: str, shape: tuple[int, ...]) -> None:
    array = filters(shape)
    table = network_table([(array, name)])
    stream = encode(array, name, table)
    assert same(decode(stream, array.dtype, array.shape, table), array)
    assert abs(size(array, name, table) - len(stream)) <= 16 + len(stream) // 100


@pytest.mark.parametrize("name", NAMES)
def test_noise_does_not_grow(name: str) -> None:
    array = np.random.default_rng(1).integers(-128, 128, (40, 30, 3, 3)).astype(np.int8)
    assert len(encode(array, name)) <= array.nbytes + 64


@pytest.mark.parametrize("name", NAMES)
def test_every_prefix_and_every_change_is_an_error_or_an_array(name: str) -> None:
    array = np.concatenate([noise((6, 4, 3, 3), 3, 6, 0.5)] * 2)
    table = network_table([(array, name)])
    stream = encode(array, name, table)
    rng = np.random.default_rng(0)
    refused = [not sound(stream[:end], array.shape, table) for end in range(0, len(stream), 9)]
    # Nearly every string of bytes is some array's arithmetic code: there the artifact's checksum tells.
    assert all(refused) if name != "mixed" else sum(refused) > 0.8 * len(refused)
    for _ in range(40):
        damaged = bytearray(stream)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        sound(bytes(damaged), array.shape, table)
    assert not any(sound(stream, array.shape, table[:end]) for end in range(len(table)))


def sound(stream: bytes, shape: tuple[int, ...], table: bytes) -> bool:
    """Whether a stream is an array, and not an error; nothing else may happen."""
    try:
        return decode(stream, np.int8, shape, table).shape == shape
    except StreamError:
        return False


def entropy(array: Array) -> float:
    """Of order 0, in bytes, nothing else counted."""
    seen = np.bincount(array.reshape(-1).view(np.uint8), minlength=256)
    shares = seen[seen > 0] / array.size
    return float(-(shares * np.log2(shares)).sum()) * array.size / 8


def test_rans_takes_the_entropy() -> None:
    array = filters((64, 64, 3, 3))
    assert len(encode(array, "rans")) < 1.01 * entropy(array) + 64


def test_neighbouring_taps_take_less_than_the_entropy() -> None:
    array = filters((64, 32, 3, 3))
    assert len(encode(array, "planes")) < 0.97 * entropy(array)


def test_channels_of_different_size_take_less_than_the_entropy() -> None:
    rng = np.random.default_rng(5)
    array = (
        np.round(rng.standard_normal((128, 96)) * 2 ** rng.uniform(0, 5, 96)).clip(-127, 127).astype(np.int8)
    )
    assert len(encode(array, "planes")) < 0.95 * entropy(array)


@pytest.mark.parametrize("zeros", [0, 0.8])
def test_less_than_the_entropy_with_zeros_and_without(zeros: float) -> None:
    array = filters((32, 32, 3, 3), scale=6)
    array[np.abs(array) < np.quantile(np.abs(array), zeros)] = 0
    assert len(encode(array, "mixed")) < 0.99 * entropy(array)


def test_a_short_tensor_need_not_learn_what_all_have_in_common() -> None:
    array = filters((16, 16, 3, 3))
    array[np.abs(array) < np.quantile(np.abs(array), 0.8)] = 0
    parts = [np.ascontiguousarray(array[at : at + 2]) for at in range(0, 16, 2)]
    assert sum(len(encode(part, "mixed")) for part in parts) < 1.2 * entropy(array)


@pytest.mark.parametrize("shape", [(200, 48), (48, 200, 1, 1), (13, 200, 16)])
def test_channels_that_tell_of_each_other_take_less_than_the_entropy(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(7)
    axis = shape.index(48) if 48 in shape else 0
    drawn = rng.standard_normal((math.prod(shape) // shape[axis], shape[axis]))
    drawn += 0.7 * drawn @ rng.standard_normal((shape[axis], 2)) @ rng.standard_normal((2, shape[axis]))
    array = np.moveaxis(drawn.reshape([e for e in shape if e != shape[axis]] + [shape[axis]]), -1, axis)
    array = np.round(np.clip(array / np.abs(array).max() * 200, -127, 127)).astype(np.int8).reshape(shape)
    assert len(encode(array, "mixed")) < 0.9 * entropy(array)


def test_pruned_sizes_are_counted_from_the_least_of_their_filter() -> None:
    array = pruned((48, 40, 1, 1), 0.8)
    assert len(encode(array, "mixed")) < 1.003 * entropy(array)


def test_heads_take_two_bytes_or_three() -> None:
    arrays = [
        np.zeros(shape, np.int8) for shape in ((64, 32, 3, 3), (200, 64), (24, 1, 5, 5), (2, 3, 5, 5, 4))
    ]
    for array in arrays:
        array.reshape(-1)[-1] = 127  # four bytes with the codec's
    assert sum(len(encode(array, "mixed")) for array in arrays) <= 30


@pytest.mark.parametrize(
    "shape", [(64, 32, 3, 3), (3, 3, 64, 32), (5, 64), (40,), (8, 16, 1, 7), (3, 3), (2, 3, 5, 5, 4)]
)
def test_orders_come_back(shape: tuple[int, ...]) -> None:
    for order in orders(shape):
        data = order.written(2)
        assert read_order(data + b"more", math.prod(shape)) == (order, len(data))
    assert len(Order((64, 16, 3, 3), (0, 1, 2, 3)).written()) == 3


def pruned(shape: tuple[int, ...], zeros: float) -> Array:
    """Filters of unequal size, of all of which the smallest weights are zero; then a scale for each."""
    drawn = filters(shape).astype(np.float64) * np.geomspace(1, 3, shape[0])[:, None, None, None]
    drawn[np.abs(drawn) < np.quantile(np.abs(drawn), zeros)] = 0
    scales = np.abs(drawn).max(axis=(1, 2, 3), keepdims=True).clip(1e-9) / 127
    found: Array = np.round(drawn / scales).astype(np.int8)
    return found


@pytest.mark.parametrize("zeros", [0.5, 0.8, 0.9])
def test_pruned_filters_take_less_than_the_entropy(zeros: float) -> None:
    array = pruned((32, 32, 3, 3), zeros)
    assert len(encode(array, "zeros")) < 0.96 * entropy(array)
    assert encode(array, "best")[0] == CODECS["zeros"].number


def test_dense_filters_are_left_to_other_codecs() -> None:
    array = filters((16, 16, 3, 3))
    assert CODECS["zeros"].codec.size(array.reshape(-1).view(np.uint8), array.shape) is None


@pytest.mark.parametrize("order", [(2, 3, 0, 1), (0, 2, 3, 1), (1, 2, 0, 3)])
def test_zeros_are_told_wherever_filters_lie(order: tuple[int, ...]) -> None:
    array = pruned((32, 24, 3, 3), 0.8)
    plain, moved = (len(encode(a, "zeros")) for a in (array, np.ascontiguousarray(array.transpose(order))))
    assert moved < 1.02 * plain + 16


@pytest.mark.parametrize("order", [(2, 3, 0, 1), (0, 2, 3, 1), (1, 2, 0, 3)])
def test_taps_are_found_wherever_they_lie(order: tuple[int, ...]) -> None:
    array = filters((24, 24, 3, 3))
    plain, moved = (len(encode(a, "mixed")) for a in (array, np.ascontiguousarray(array.transpose(order))))
    assert moved < 1.01 * plain + 16


def test_repeated_filters_take_a_word_each() -> None:
    rng = np.random.default_rng(2)
    known = rng.integers(-127, 128, (20, 9)).astype(np.int8)
    array = known[rng.integers(0, 20, 2048)].reshape(64, 32, 3, 3)
    assert len(encode(array, "patterns")) < 2048 * 5 / 8 + 20 * 9 + 64
    assert len(encode(array, "shared-blocks")) < 2048 * 6 / 8 + 20 * 9 + 64


def test_few_values_take_few_bits() -> None:
    array = np.random.default_rng(3).choice([-3, 0, 5, 9], 4000).astype(np.int8)
    assert len(encode(array, "dictionary")) == 4000 * 2 // 8 + 4 + 2


def test_pruned_weights_take_the_place_of_what_is_left() -> None:
    array = filters((64, 64, 3, 3))
    array[np.random.default_rng(4).random(array.shape) < 0.9] = 0
    left = int(np.count_nonzero(array))
    assert len(encode(array, "bitmap")) == 1 + array.size // 8 + left
    assert len(encode(array, "zero-run")) < array.size * 0.65 / 8 + left
    assert len(encode(array, "best")) < array.size * 0.5 / 8 + left * 7.5 / 8


def test_smallest_is_the_smallest() -> None:
    for array in (filters((16, 16, 3, 3)), np.zeros((50, 50), np.int8), noise((20, 30), 1, 3, 0.5)):
        least = len(encode(array, "smallest"))
        assert least <= 16 + min(len(encode(array, name)) for name in NAMES)


def test_a_network_has_one_table_of_what_it_makes_shorter() -> None:
    layers = [filters((8, 8, 3, 3), seed) for seed in range(8)]
    noise = np.random.default_rng(1).integers(-128, 128, (40, 30, 3, 3)).astype(np.int8)
    table = network_table([*((layer, "network-huffman") for layer in layers), (noise, "network-huffman")])
    streams = [encode(layer, "network-huffman", table) for layer in layers]
    assert {stream[0] for stream in streams} == {CODECS["network-huffman"].number}
    assert encode(noise, "network-huffman", table)[0] == CODECS["raw"].number
    own = [encode(layer, "huffman") for layer in layers]
    assert len(table) + sum(map(len, streams)) < 0.95 * sum(map(len, own))
    assert network_table([(layers[0][:1], "network-huffman")]) == b""  # it would take more than it saves
    assert network_table((layer, "huffman") for layer in layers) == b""


def test_of_several_codecs_one_may_be_by_the_networks_table() -> None:
    layers = [filters((8, 8, 3, 3), seed) for seed in range(8)]
    layers.append(np.tile(filters((4, 4, 3, 3)), (8, 8, 1, 1)))
    table = network_table((layer, "network-huffman+patterns") for layer in layers)
    taken = [encode(layer, "network-huffman+patterns", table)[0] for layer in layers]
    assert taken == [CODECS["network-huffman"].number] * 8 + [CODECS["patterns"].number]


def test_planes_of_a_large_tensor_fill_a_decoders_vectors() -> None:
    large, small = (
        min(count // cut.planes for cut in cuts((count // 18, 2, 3, 3), count)) for count in (18432, 2304)
    )
    assert large >= LEAST_PLACES > small


def test_planes_are_not_sought_in_noise() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3, 3)).astype(np.uint8)
    told = np.repeat(noise[:8], 2, axis=0)
    assert CODECS["planes"].codec.size(noise.reshape(-1), noise.shape) is None
    uneven = np.where(noise < 250, noise, 0).astype(np.uint8)
    assert CODECS["planes"].codec.size(uneven.reshape(-1), noise.shape) is not None
    assert len(encode(told)) < 0.6 * told.size
