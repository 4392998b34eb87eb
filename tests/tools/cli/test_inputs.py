"""Inputs on the command line: images, arrays of other widths, and what does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from secateur import load
from secateur.ir.errors import SecateurError
from secateur.tools.cli.inputs import GraphPort, fitted, parse_inputs

from ..conftest import Cli

Array = NDArray[Any]
PREPARED = ("--mean", "0.5,0.25,0.125", "--std", "0.5")


@pytest.fixture
def pixels() -> Array:
    return np.random.default_rng(3).integers(0, 256, (8, 8, 3)).astype(np.uint8)


@pytest.fixture
def png(tmp_path: Path, pixels: Array) -> Path:
    image = pytest.importorskip("PIL.Image")
    path = tmp_path / "photo.png"
    image.fromarray(pixels).save(path)
    return path


def _expected(pixels: Array) -> Array:
    mean = np.array([0.5, 0.25, 0.125], np.float32)
    return ((pixels.astype(np.float32) / np.float32(255) - mean) / np.float32(0.5)).transpose(2, 0, 1)[None]


def test_an_image_is_prepared_as_for_calibration(
    cli: Cli, artifact: Path, png: Path, pixels: Array, tmp_path: Path
) -> None:
    result = cli("run", artifact, "--input", png, *PREPARED, "--output-dir", tmp_path / "out", "--json")
    with load(artifact) as session:
        expected = session.run({"x": _expected(pixels)})["y"]
    np.testing.assert_array_equal(np.load(result.json["outputs"][0]["file"]), expected)


def test_a_jpeg_of_another_size_is_resized_and_cut(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    flat = np.zeros((20, 30, 3), np.uint8)
    flat[:, 15:] = 255
    path = tmp_path / "Photo.JPG"
    image.fromarray(flat).save(path, quality=100)
    whole, middle = (cli("run", artifact, "--input", path, "--resize", size).out for size in (8, 20))
    assert "y" in whole
    assert whole != middle


def test_bench_and_compare_take_images(cli: Cli, artifact: Path, model: Path, png: Path) -> None:
    assert cli("bench", artifact, "--input", png, *PREPARED, "--iterations", 2).code == 0
    assert cli("compare", model, "--input", f"x={png}", *PREPARED).code == 0


@pytest.mark.parametrize("dtype", ["float64", "float16", "float32"])
def test_floats_of_other_widths_are_rounded(cli: Cli, artifact: Path, tmp_path: Path, dtype: str) -> None:
    array = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype(dtype)
    np.save(tmp_path / "given.npy", array)
    np.save(tmp_path / "rounded.npy", array.astype(np.float32))
    given, rounded = (cli("run", artifact, "--input", tmp_path / f"{n}.npy") for n in ("given", "rounded"))
    assert given.code == 0
    assert given.out == rounded.out


def test_a_single_image_needs_no_batch(cli: Cli, artifact: Path, tmp_path: Path) -> None:
    array = np.ones((1, 3, 8, 8), np.float32)
    np.save(tmp_path / "batch.npy", array)
    np.save(tmp_path / "one.npy", array[0])
    batch, one = (cli("run", artifact, "--input", tmp_path / f"{n}.npy").out for n in ("batch", "one"))
    assert batch == one


@pytest.mark.parametrize(
    ("array", "dtype"),
    [
        (np.ones((2, 2), np.int64), "float32"),
        (np.ones((2, 2)), "int32"),
        (np.ones((2, 3)), "float32"),
        (np.full((2, 2), 1e300), "float32"),
        (np.full((2, 2), 300), "uint8"),
        (np.full((2, 2), -1), "uint8"),
        (np.ones((2, 2), bool), "uint8"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(array: Array, dtype: str) -> None:
    port = GraphPort("x", (2, 2), np.dtype(dtype))
    with pytest.raises(SecateurError, match=rf"a.npy: holds {array.dtype} .*input 'x' is {dtype} \(2, 2\)"):
        fitted(array, port, "a.npy")


def test_integers_that_are_the_same_in_another_width_fit() -> None:
    port = GraphPort("x", (2,), np.dtype(np.uint8))
    found = fitted(np.array([0, 255]), port, "a.npy")
    assert (found.dtype, found.tolist()) == (np.dtype(np.uint8), [0, 255])


def test_infinite_numbers_stay_infinite() -> None:
    port = GraphPort("x", (3,), np.dtype(np.float32))
    assert np.array_equal(fitted(np.array([1, np.inf, np.nan]), port, "")[:2], [1, np.inf])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--mean", "0.5"), "no --input is an image file"),
        (("--input", "random:0", "--resize", 9), "no --input is an image file"),
        (("--input", "{png}", "--mean", "123"), "--mean 123 is not in 0..1"),
        (("--input", "{png}", "--std", "a"), "--std a: numbers with commas"),
        (("--input", "{damaged}"), "is not an image that Pillow reads"),
    ],
)
@pytest.mark.parametrize("command", ["run", "bench", "compare"])
def test_refusals(
    cli: Cli, artifact: Path, model: Path, png: Path, tmp_path: Path, command: str,
    words: tuple[object, ...], message: str,
) -> None:  # fmt: skip
    if command == "run" and "--input" not in words:
        words = ("--input", "random:0", *words)
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(b"\x89PNG nothing")
    given = [str(w).format(png=png, damaged=damaged) for w in words]
    result = cli(command, model if command == "compare" else artifact, *given)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


def test_one_image_does_not_fill_a_batch(png: Path) -> None:
    port = GraphPort("x", (4, 3, 8, 8), np.dtype(np.float32))
    with pytest.raises(SecateurError, match="is one image, input 'x' takes 4"):
        parse_inputs([f"x={png}"], [port])


def test_what_takes_no_images_says_so(png: Path) -> None:
    port = GraphPort("x", (1, 5), np.dtype(np.float32))
    with pytest.raises(SecateurError, match=r"input 'x' of shape \(1, 5\) takes no images"):
        parse_inputs([str(png)], [port])
