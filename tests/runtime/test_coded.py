"""Coded weights at run time: the decoders in C against those in Python, and states that decode."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur.codegen.artifact import seal, write_artifact
from secateur.codegen.destination import SEAL_FIELDS, SEAL_MAGIC
from secateur.codegen.program import Program
from secateur.codegen.runtime_files import DECODER_SOURCES
from secateur.codegen.weights.codec import StreamError
from secateur.codegen.weights.decoding import room_of, room_of_streams
from secateur.codegen.weights.network import network_table
from secateur.codegen.weights.registry import CODECS, NAMES
from secateur.codegen.weights.storing import coded
from secateur.codegen.weights.streams import decode, encode
from secateur.runtime.library import Library, OptionsStruct
from secateur.runtime.session import SessionError, load
from tests.sampled import whole

from .sanitized import RUNTIME, WARNINGS, gcc, sanitized, sanitizing

ROOT = Path(__file__).parents[2]
Array = NDArray[Any]
Case = tuple[bytes, str, tuple[int, ...]]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program of decode.c, under the sanitizers of addresses and of undefined behaviour."""
    folder = tmp_path_factory.mktemp("decoder")
    output, main = folder / "decode", str(Path(__file__).with_name("decode.c"))
    objects = sanitized((*DECODER_SOURCES, "cpu.c"), folder)
    flags = ("-std=c11", "-O1", "-g", *WARNINGS, *sanitizing(), f"-I{RUNTIME}")
    subprocess.run([gcc(), *flags, main, *objects, "-o", str(output)], check=True)
    return output


def arrays() -> list[Array]:
    rng = np.random.default_rng(0)
    filters = rng.standard_normal((24, 16, 3, 3)) * 20 + rng.standard_normal((24, 16, 1, 1)) * 15
    known = rng.integers(-9, 9, (12, 9)).astype(np.int8)
    pruned = np.where(rng.random((40, 50)) < 0.85, 0, rng.integers(-127, 128, (40, 50))).astype(np.int8)
    return [
        filters.clip(-127, 127).astype(np.int8),
        known[rng.integers(0, 12, 300)].reshape(20, 15, 3, 3),
        pruned,
        rng.choice([-3, 0, 7], (31, 9)).astype(np.int8),
        rng.standard_normal((16, 9), np.float32),
        rng.integers(-300, 300, 500).astype(np.int16),
        np.zeros((70, 33), np.int8),
        np.full((5,), -128, np.int8),
        np.zeros((0, 3), np.float32),
    ]


def in_c(
    decoder: Path, cases: Sequence[Case], folder: Path, room: int | None = None, table: bytes = b""
) -> list[str]:
    """What the decoders in C say of each stream, working in `room` bytes where that is given.

    `table` is what streams have in common.
    """
    file = folder / "streams"
    with file.open("wb") as out:
        out.write(len(table).to_bytes(4, "little") + table)
        for stream, dtype, shape in cases:
            size = int(np.prod(shape)) * np.dtype(dtype).itemsize
            out.write(len(stream).to_bytes(4, "little") + size.to_bytes(4, "little") + stream)
    given = [] if room is None else [str(room)]
    done = subprocess.run([decoder, file, *given], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def in_python(case: Case, table: bytes = b"") -> str:
    try:
        return str(zlib.adler32(decode(*case, table).tobytes()))
    except StreamError:
        return "damaged"


@pytest.mark.parametrize("name", NAMES)
def test_c_decodes_what_python_encodes(decoder: Path, tmp_path: Path, name: str) -> None:
    table = network_table((a, name) for a in arrays())
    cases = [(encode(a, name, table), a.dtype.str, a.shape) for a in arrays()]
    assert in_c(decoder, cases, tmp_path, table=table) == [str(zlib.adler32(a.tobytes())) for a in arrays()]


@pytest.mark.parametrize("name", CODECS)
def test_a_decoder_works_in_the_room_of_its_codec_and_refuses_less(
    decoder: Path, tmp_path: Path, name: str
) -> None:
    """The sanitizer sees what leaves the room; a damaged stream may name a codec for which there is none."""
    table = network_table((a, name) for a in arrays())
    cases = [(encode(a, name, table), a.dtype.str, a.shape) for a in arrays()]
    needed = [room_of_streams([stream]) for stream, _, _ in cases]
    found = {}
    for room in sorted(set(needed)):
        some = [case for case, own in zip(cases, needed, strict=True) if own == room]
        found[room] = in_c(decoder, some, tmp_path, room, table)
    assert "damaged" not in [line for lines in found.values() for line in lines]
    assert max(needed) == room_of([name])
    less = in_c(decoder, cases, tmp_path, 64, table)
    assert [line == "damaged" for line in less] == [room > 64 for room in needed]


def damaged(stream: bytes, rng: np.random.Generator) -> bytes:
    """A stream cut short, made longer, or with a few bytes changed, mostly near its head."""
    data, kind = bytearray(stream), rng.integers(8)
    if kind == 0:
        return bytes(data[: rng.integers(len(data))])
    if kind == 1:
        return bytes(data) + bytes(rng.integers(1, 4))
    for _ in range(rng.integers(1, 4)):
        end = len(data) if kind < 4 else min(len(data), 40)
        data[rng.integers(end)] = rng.integers(256) if kind % 2 else data[rng.integers(end)] ^ 1
    return bytes(data)


DAMAGES = 60 if whole() else 12  # of each stream


@pytest.mark.examples
@pytest.mark.parametrize("name", NAMES)
def test_damaged_streams_are_told_alike_and_nothing_outside_is_touched(
    decoder: Path, tmp_path: Path, name: str
) -> None:
    rng = np.random.default_rng(len(name))
    small = [a.reshape(-1)[: 3 * 9 * 8].reshape(-1, 3, 3) if a.size % 9 == 0 else a for a in arrays()[:6]]
    table = network_table((a, name) for a in small)
    streams = [(encode(a, name, table), a.dtype.str, a.shape) for a in small]
    cases = [(damaged(s, rng), dtype, shape) for s, dtype, shape in streams for _ in range(DAMAGES)]
    assert in_c(decoder, cases, tmp_path, table=table) == [in_python(case, table) for case in cases]


def test_a_damaged_table_is_told_alike(decoder: Path, tmp_path: Path) -> None:
    rng, array = np.random.default_rng(3), arrays()[0]
    table = network_table([(array, "network-huffman")])
    case = encode(array, "network-huffman", table), "int8", array.shape
    tables = [damaged(table, rng) for _ in range(DAMAGES)]
    found = [in_c(decoder, [case], tmp_path, table=own) for own in (b"", *tables, table)]
    assert found == [[in_python(case, own)] for own in (b"", *tables, table)]
    assert found[0] == ["damaged"] != found[-1]


@pytest.mark.parametrize("name", ["rans", "planes", "nibbles", "zeros"])
def test_lanes_in_vectors_are_told_alike_and_touch_nothing_outside(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Small arrays of many lanes: eight or sixteen at once, the last ones one by one."""
    monkeypatch.setattr("secateur.codegen.weights.lanes.LOG_SYMBOLS", 6)
    monkeypatch.setattr("secateur.codegen.weights.planes.LEAST_PLACES", 2)
    rng = np.random.default_rng(7)
    filters = np.round(rng.standard_normal((13, 11, 3, 3)) * 20).clip(-127, 127).astype(np.int8)
    matrix = np.where(rng.random((40, 31)) < 0.7, 0, filters.reshape(-1)[:1240].reshape(40, 31))
    kernels = np.where(rng.random((13, 11, 1, 1)) < 0.3, filters, 0)  # `zeros` takes nine taps side by side
    odd = np.where(rng.random((44, 60)) < 0.7, 0, rng.integers(-128, 128, (44, 60))).astype(np.int8)
    given = (filters * (abs(filters) > 14), filters, matrix, kernels, odd)
    streams = [(encode(a, name), "int8", a.shape) for a in given]
    cases = [(damaged(s, rng), dtype, shape) for s, dtype, shape in streams for _ in range(DAMAGES)]
    assert in_c(decoder, streams + cases, tmp_path) == [in_python(case) for case in streams + cases]


# States --------------------------------------------------------------------------------------------


def with_filters(program: Program, codec: str) -> Program:
    """The program with an array of weights more, all coded."""
    extra = arrays()[0]
    end = program.weight_offsets[-1] + -(-program.weights[-1].nbytes // 64) * 64
    weights = (*program.weights, extra)
    table = network_table((array, codec) for array in weights)
    streams = coded(weights, [codec] * len(weights), table=table)
    offsets = (*program.weight_offsets, end)
    return replace(program, weights=weights, weight_offsets=offsets, streams=streams, table=table)


@pytest.fixture(scope="module")
def coded_so(programs: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = with_filters(programs.scale_relu_sum(), "best")
    return write_artifact(program, tmp_path_factory.mktemp("coded") / "coded.so")


def image(programs: ModuleType) -> Array:
    return np.random.default_rng(3).standard_normal((programs.ROWS, programs.COLUMNS), dtype=np.float32)


@pytest.mark.parametrize("threads", [1, 3])
def test_coded_weights_give_the_same_bits(coded_so: Path, programs: ModuleType, threads: int) -> None:
    x = image(programs)
    with load(coded_so, threads) as session:
        np.testing.assert_array_equal(session.run({"x": x})["y"], programs.expected(x)[0])
        manifest = session.manifest
        assert session.arena_bytes == manifest["arena_bytes"] + (threads - 1) * manifest["thread_bytes"]


def test_the_manifest_says_what_weights_take(coded_so: Path) -> None:
    with load(coded_so) as session:
        manifest = session.manifest
    rows = manifest["stored"].values()
    assert sum(row["coded_bytes"] for row in rows) == manifest["coded_bytes"] < manifest["weights_bytes"]
    assert manifest["stored"]["planes"]["bytes"] == arrays()[0].nbytes
    assert manifest["arena_bytes"] > manifest["weights_bytes"]
    assert manifest["loading_bytes"] == room_of(["planes"])


class Raw:
    """The C interface of a library, with functions that a session does not use."""

    def __init__(self, path: Path) -> None:
        self.library = Library(path)
        for name, result in (
            ("secateur_weights", ctypes.c_void_p),
            ("secateur_coded_bytes", ctypes.c_uint64),
            ("secateur_state_weights", ctypes.c_void_p),
        ):
            getattr(self.library, name).restype = result
        self.library.secateur_state_weights.argtypes = [ctypes.c_void_p]

    def create(self, **options: Any) -> tuple[int, ctypes.c_void_p]:
        state = ctypes.c_void_p()
        given = OptionsStruct(size=ctypes.sizeof(OptionsStruct), **options)
        return self.library.secateur_create(ctypes.byref(given), ctypes.byref(state)), state


def test_states_share_decoded_weights(coded_so: Path) -> None:
    raw = Raw(coded_so)
    size = raw.library.secateur_weights_bytes()
    assert raw.library.secateur_weights() is None
    assert 0 < raw.library.secateur_coded_bytes() < size
    status, first = raw.create()
    shared = raw.library.secateur_state_weights(first)
    assert status == 0
    expected = arrays()[0].tobytes()
    assert ctypes.string_at(shared + size - len(expected), len(expected)) == expected
    needed = raw.library.secateur_arena_bytes(1) - -(-size // 64) * 64
    memory = ctypes.create_string_buffer(needed + 64)
    arena = -(-ctypes.addressof(memory) // 64) * 64
    given = {"weights": shared, "weights_bytes": size, "arena": arena}
    assert raw.create(**given, arena_bytes=needed - 1)[0] == 4
    status, second = raw.create(**given, arena_bytes=needed)
    assert status == 0
    assert raw.library.secateur_state_weights(second) == shared
    assert raw.create(arena=arena, arena_bytes=needed)[0] == 4
    raw.library.secateur_free(second)
    raw.library.secateur_free(first)
    raw.library.close()


def test_weights_that_are_not_coded_are_read_in_place(model_so: Path) -> None:
    raw = Raw(model_so)
    status, state = raw.create()
    assert status == 0
    assert raw.library.secateur_coded_bytes() == 0
    assert raw.library.secateur_state_weights(state) == raw.library.secateur_weights()
    raw.library.secateur_free(state)
    raw.library.close()


@pytest.mark.parametrize("codec", ["best", "raw", "rans", "network-huffman"])
def test_damaged_weights_are_an_error(programs: ModuleType, tmp_path: Path, codec: str) -> None:
    program = with_filters(programs.scale_relu_sum(), codec)
    path = write_artifact(program, tmp_path / "damaged.so")
    data, changed = bytearray(path.read_bytes()), program.table or program.streams[-1]
    at = data.find(changed) + len(changed) // 2
    data[at] ^= 4
    end = data.find(SEAL_MAGIC) + len(SEAL_MAGIC)
    data[end : end + SEAL_FIELDS.size] = bytes(SEAL_FIELDS.size)
    path.write_bytes(data)
    seal(path)
    for threads in (1, 3):
        with pytest.raises(SessionError, match="coded weights are damaged"):
            load(path, threads)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("board", "emulator"), [("AARCH64", ["qemu-aarch64", "-cpu", "cortex-a53"]), ("ARMV7", ["qemu-arm"])]
)
def test_arm_decodes_too(programs: ModuleType, tmp_path: Path, board: str, emulator: list[str]) -> None:
    if shutil.which(emulator[0]) is None:
        pytest.skip(f"{emulator[0]} is not installed: apt-get install qemu-user")
    program = with_filters(programs.scale_relu_sum(getattr(programs, board)), "best")
    folder = write_artifact(program, tmp_path / board, "dir")
    x = image(programs)
    np.save(tmp_path / "x.npy", x)
    files = ["--input", str(tmp_path / "x.npy"), "--output", str(tmp_path / "y.npy")]
    files += ["--output", str(tmp_path / "total.npy"), "--iterations", "1", "--json"]
    command = [*emulator, str(folder / "bench"), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["operators"]
    np.testing.assert_array_equal(np.load(tmp_path / "y.npy"), programs.expected(x)[0])
