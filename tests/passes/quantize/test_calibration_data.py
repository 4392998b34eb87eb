"""Sources of calibration images: what each reads, how little it holds, and what it refuses."""

from __future__ import annotations

import logging
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.ir.types import DType, TensorType
from secateur.passes.quantize.calibration.data import open_source
from secateur.passes.quantize.calibration.images import ImageReader
from secateur.passes.quantize.calibration.preparation import Preparation, numbers
from secateur.passes.quantize.calibration.source import Source

Array = np.ndarray[Any, Any]


def model(*shapes: tuple[int, ...], dtype: DType = DType.F32) -> Graph:
    """A graph with inputs `x`, `z` of these shapes; sources look at nothing else."""
    graph = Graph()
    for name, shape in zip("xz", shapes, strict=False):
        graph.add_input(TensorType(shape, dtype), name)
    return graph


def pictures(count: int, shape: tuple[int, ...] = (3, 4, 5)) -> Array:
    return np.arange(count * np.prod(shape), dtype=np.float32).reshape(count, *shape)


def contents(source: Source) -> Array:
    return np.concatenate([batch["x"] for batch in source])


ONE = model((1, 3, 4, 5))

# Arrays --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", "float16"])
def test_npy_holds_images(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "a.npy", pictures(5).astype(dtype))
    source = open_source(tmp_path / "a.npy", ONE)
    batches = list(source)
    assert source.images == len(batches) == 5
    assert {(b["x"].shape, b["x"].dtype.str) for b in batches} == {((1, 3, 4, 5), "<f4")}
    np.testing.assert_array_equal(contents(source), pictures(5).astype(dtype))
    np.testing.assert_array_equal(contents(source), contents(source))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("batch", "stored"), [(1, (6, 3, 4)), (2, (6, 3, 4)), (2, (3, 2, 3, 4)), (1, (6, 1, 3, 4))]
)
def test_npy_fills_the_models_batch(tmp_path: Path, batch: int, stored: tuple[int, ...], order: Any) -> None:
    np.save(tmp_path / "a.npy", np.array(pictures(6, (3, 4)).reshape(stored), order=order))
    source = open_source(tmp_path / "a.npy", model((batch, 3, 4)))
    assert [b["x"].shape for b in source] == [(batch, 3, 4)] * (6 // batch)
    np.testing.assert_array_equal(contents(source), pictures(6, (3, 4)))


def test_images_that_fill_no_batch_are_left_out(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(5, (3,)))
    source = open_source(tmp_path / "a.npy", model((2, 3)))
    np.testing.assert_array_equal(contents(source), pictures(4, (3,)))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_holds_an_array_for_each_input(tmp_path: Path, save: Any) -> None:
    x, z = pictures(4), pictures(4, (2,))
    save(tmp_path / "a.npz", z=z, x=x, labels=np.arange(4, dtype=np.uint8))
    source = open_source(tmp_path / "a.npz", model((2, 3, 4, 5), (2, 2)))
    batches = list(source)
    np.testing.assert_array_equal(np.concatenate([b["x"] for b in batches]), x)
    np.testing.assert_array_equal(np.concatenate([b["z"] for b in batches]), z)
    assert [labels.tolist() for _, labels in source.labelled()] == [[0, 1], [2, 3]]


def test_the_only_array_feeds_the_only_input(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=pictures(2), y=np.array([7, 8]))
    source = open_source(str(tmp_path / "a.npz"), ONE)
    np.testing.assert_array_equal(contents(source), pictures(2))
    assert source.labels is not None
    assert source.labels.tolist() == [7, 8]


@given(st.integers(1, 30), st.integers(1, 40))
def test_a_limit_spreads_evenly(tmp_path_factory: pytest.TempPathFactory, count: int, limit: int) -> None:
    path = tmp_path_factory.mktemp("limit") / "a.npz"
    np.savez(path, x=np.arange(count, dtype=np.float32)[:, None], labels=np.arange(count))
    source = open_source(path, model((1, 1)), limit=limit)
    chosen = contents(source)[:, 0].tolist()
    steps = np.diff(chosen)
    assert source.labels is not None
    assert source.labels.tolist() == chosen
    assert len(chosen) == source.images == min(count, limit)
    assert chosen[0] == 0
    assert steps.size == 0 or steps.max() - steps.min() <= 1


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_one_image_is_held_at_a_time(tmp_path: Path, suffix: str) -> None:
    path, image = tmp_path / f"a.{suffix}", 64 * 64 * 3 * 4
    many = np.random.default_rng(0).standard_normal((200, 3, 64, 64)).astype(np.float32)
    np.save(path, many) if suffix == "npy" else np.savez_compressed(path, x=many)
    source = open_source(path, model((1, 3, 64, 64)))
    tracemalloc.start()
    assert sum(1 for _ in source) == 200
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 12 * image  # all would be 200


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 3, 4, 6), np.float32)}, r"4, 6\), input 'x' takes images of \(N, 3, 4, 5\)"),
        ({"x": np.zeros((3, 4, 5), np.float32)}, r"has shape \(3, 4, 5\)"),
        ({"x": np.zeros((2, 3, 4, 5), np.uint8)}, "holds uint8, input 'x' is float32; pixels must be"),
        ({"x": np.zeros((0, 3, 4, 5), np.float32)}, "0 images are too few: it is empty"),
        ({"a": pictures(1), "b": pictures(1)}, "has no array for input 'x'; it has a, b"),
        ({"labels": np.zeros(2, int)}, "has no array for input 'x'; it has labels"),
        ({"x": pictures(2), "labels": np.zeros(3, int)}, r"2 integers are wanted, it is int64 \(3,\)"),
        ({"x": pictures(2), "labels": np.zeros(2)}, "2 integers are wanted, it is float64"),
        ({"x": np.array([None])}, "array 'x' holds Python objects"),
        ({"x": np.asfortranarray(pictures(2))}, "array 'x' is in Fortran order"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(tmp_path: Path, arrays: dict[str, Array], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(SecateurError, match=rf"a\.npz.*{message}"):
        list(open_source(tmp_path / "a.npz", ONE))


def test_different_numbers_of_images_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=pictures(2), z=pictures(3, (2,)))
    with pytest.raises(SecateurError, match="numbers of images differ: 2 for 'x', 3 for 'z'"):
        open_source(tmp_path / "a.npz", model((1, 3, 4, 5), (1, 2)))


def test_fewer_images_than_a_batch_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(3))
    with pytest.raises(SecateurError, match="3 images are too few: the model's batch is 4"):
        open_source(tmp_path / "a.npy", model((4, 3, 4, 5)))


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_files_that_are_none_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SecateurError, match=r"is not an \.np[yz] file"):
        open_source(tmp_path / name, ONE)


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", b"no array at all")
    with pytest.raises(SecateurError, match=r"is not an \.npz file of arrays"):
        open_source(tmp_path / "a.npz", ONE)


def test_a_damaged_npz_is_refused_when_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=pictures(400))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    with pytest.raises(SecateurError, match="array 'x' is damaged: Bad CRC"):
        list(open_source(path, ONE))


def test_a_short_member_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", pictures(3))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", (tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(SecateurError, match="array 'x' ends too early"):
        list(open_source(tmp_path / "a.npz", ONE))


def test_one_array_for_two_inputs_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(3))
    with pytest.raises(
        SecateurError, match=r"a single array feeds one input, the model has 'x', 'z'; give an \.npz"
    ):
        open_source(tmp_path / "a.npy", model((1, 3, 4, 5), (1, 2)))


@pytest.mark.parametrize("shapes", [((1, 2), (2, 2)), ((), (1, 2)), ((), ()), ((0, 2),)])
def test_inputs_without_a_common_batch_are_given_whole(shapes: Any, tmp_path: Path) -> None:
    graph = model(*shapes)
    arrays: Any = {v.name: np.ones((3, *v.type.shape), np.float32) for v in graph.inputs}
    np.savez(tmp_path / "a.npz", **arrays)
    for source in ("random:3", tmp_path / "a.npz"):
        batches = list(open_source(source, graph))
        assert [tuple(a.shape for a in batch.values()) for batch in batches] == [shapes] * 3


def test_numbers_for_an_input_without_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3, dtype=np.float32))
    assert [float(batch["x"]) for batch in open_source(tmp_path / "a.npy", model(()))] == [0, 1, 2]


def test_a_number_is_no_array_of_images(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.float32(1))
    with pytest.raises(SecateurError, match=r"has shape \(\), input 'x' takes images of \(N\)"):
        open_source(tmp_path / "a.npy", model((1,)))


def test_accuracy_without_labels_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", pictures(3))
    with pytest.raises(SecateurError, match="accuracy and the criterion taylor need labels"):
        next(open_source(tmp_path / "a.npy", ONE).labelled())


# Images --------------------------------------------------------------------------------------------


def picture(path: Path, height: int, width: int, mode: str = "RGB") -> Array:
    channels = {"RGB": 3, "L": 1, "RGBA": 4}[mode]
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, channels), np.uint8)
    Image.fromarray(pixels.squeeze(), mode).save(path)
    return pixels


def test_folder_of_images(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    second, first = picture(tmp_path / "dog.png", 4, 5), picture(tmp_path / "cats" / "a.PNG", 4, 5)
    (tmp_path / "readme.md").write_text("no image")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    source = open_source(tmp_path, ONE, Preparation(mean, std))
    expected = ((np.stack([first, second]) / 255 - mean) / std).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(contents(source), expected, rtol=1e-5, atol=1e-6)
    assert source.images == 2
    assert next(iter(source))["x"].dtype == np.float32


def test_middle_is_cut(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", 8, 9)
    found = ImageReader(ONE.inputs[0], Preparation(resize=8)).read(tmp_path / "a.png")
    np.testing.assert_allclose(found.transpose(1, 2, 0), pixels[2:6, 2:7] / 255, rtol=1e-6)


@pytest.mark.parametrize(("height", "width"), [(40, 30), (30, 40), (3, 100), (2, 2)])
@pytest.mark.parametrize("size", [None, 6])
def test_any_extent_is_brought_to_the_models(
    tmp_path: Path, height: int, width: int, size: int | None
) -> None:
    Image.new("RGB", (width, height), (51, 102, 204)).save(tmp_path / "a.png")
    found = ImageReader(ONE.inputs[0], Preparation(resize=size)).read(tmp_path / "a.png")
    np.testing.assert_allclose(
        found, np.broadcast_to(np.array([0.2, 0.4, 0.8])[:, None, None], (3, 4, 5)), rtol=1e-6
    )


def test_resizing_keeps_the_aspect(tmp_path: Path) -> None:
    """Left half black, right half white: the edge stays in the middle after resize and crop."""
    pixels = np.zeros((40, 80, 3), np.uint8)
    pixels[:, 40:] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = ImageReader(model((1, 3, 8, 8)).inputs[0], Preparation()).read(tmp_path / "a.png")
    assert found[:, :, :3].max() == 0
    assert found[:, :, 5:].min() == 1


@pytest.mark.parametrize(
    ("shape", "mode", "index"),
    [
        ((1, 4, 5, 3), "RGB", (0, 1, 2)),
        ((1, 3, 4, 5), "RGBA", (0, 1, 2)),
        ((1, 1, 4, 5), "L", (0,)),
        ((1, 3, 4, 5), "L", (0, 0, 0)),
    ],
)
def test_modes_and_axes(tmp_path: Path, shape: tuple[int, ...], mode: str, index: tuple[int, ...]) -> None:
    pixels = picture(tmp_path / "a.png", 4, 5, mode)[:, :, index]
    found = ImageReader(model(shape).inputs[0], Preparation()).read(tmp_path / "a.png")
    wanted = pixels if shape[1] == 4 else pixels.transpose(2, 0, 1)
    np.testing.assert_allclose(found, wanted / 255, rtol=1e-6)


def test_bytes_stay_bytes(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png", 4, 5)
    source = open_source(tmp_path, model((1, 4, 5, 3), dtype=DType.U8))
    np.testing.assert_array_equal(contents(source), pixels[None])


@pytest.mark.parametrize(
    ("shape", "dtype", "preparation", "message"),
    [
        ((1, 7, 4, 5), DType.F32, Preparation(), r"input 'x' of shape \(1, 7, 4, 5\) takes no images"),
        ((1, 60), DType.F32, Preparation(), "takes no images"),
        ((1, 3, 4, 5), DType.I64, Preparation(), "input 'x' is i64; images are given to f32 and u8"),
        ((1, 3, 4, 5), DType.U8, Preparation((0.5,)), "--mean and --std do not apply"),
        (
            (1, 1, 4, 5),
            DType.F32,
            Preparation((0.5, 0.5, 0.5)),
            "--mean has 3 numbers, input 'x' has 1 channel",
        ),
    ],
)
def test_inputs_that_take_no_images(
    shape: tuple[int, ...], dtype: DType, preparation: Preparation, message: str
) -> None:
    with pytest.raises(SecateurError, match=message):
        ImageReader(model(shape, dtype=dtype).inputs[0], preparation)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"mean": (123.675, 116.28, 103.53)},
            r"--mean 123.675,116.28,103.53 is not in 0\.\.1; pixels are scaled",
        ),
        ({"std": (0.0,)}, r"--std 0 is not in 0\.\.1 or is 0"),
        ({"mean": (0.1, 0.2)}, "--mean: one number or three are wanted, got 2"),
        ({"std": (float("nan"),)}, "not finite"),
        ({"resize": 0}, "--resize 0 is no side"),
    ],
)
def test_bad_preparation_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SecateurError, match=message):
        Preparation(**options)


def test_numbers_of_an_option() -> None:
    assert numbers("0.485, 0.456,.406", "--mean") == (0.485, 0.456, 0.406)
    with pytest.raises(SecateurError, match=r"--mean 0\.4;0\.5: numbers with commas"):
        numbers("0.4;0.5", "--mean")


def test_without_pillow_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", 4, 5)
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(SecateurError, match="reading images needs Pillow: pip install pillow"):
        open_source(tmp_path, ONE)


@pytest.mark.parametrize("cut", [0, 20, 60])
def test_damaged_images_are_refused(tmp_path: Path, cut: int) -> None:
    picture(tmp_path / "a.png", 4, 5)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:cut])
    with pytest.raises(SecateurError, match=r"a\.png: (is not an image|damaged image)"):
        list(open_source(tmp_path, ONE))


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"holds no image \(\.bmp"):
        open_source(tmp_path, ONE)


def test_subfolders_are_classes(tmp_path: Path) -> None:
    for name in ("b/1.png", "a/1.png", "b/2.png", "a/deep/2.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / name, 4, 5)
    labels = open_source(tmp_path, ONE).labels
    assert labels is not None
    assert labels.tolist() == [0, 0, 1, 1]
    picture(tmp_path / "of no class.png", 4, 5)
    assert open_source(tmp_path, ONE).labels is None


# Lists ---------------------------------------------------------------------------------------------


def listing(folder: Path, text: str) -> Path:
    (folder / "list.txt").write_text(text)
    return folder / "list.txt"


def test_list_of_files_relative_to_itself(tmp_path: Path) -> None:
    (tmp_path / "some where").mkdir()
    pixels = picture(tmp_path / "some where" / "b 2.png", 4, 5)
    np.save(tmp_path / "a.npy", pictures(1)[0])
    source = open_source(listing(tmp_path, "# a comment\nsome where/b 2.png\n\na.npy\n"), ONE)
    expected = np.stack([pixels.transpose(2, 0, 1) / np.float32(255), pictures(1)[0]])
    np.testing.assert_allclose(contents(source), expected, rtol=1e-6)
    assert source.labels is None


def test_list_with_classes(tmp_path: Path) -> None:
    for name in ("a 1", "b"):
        np.save(tmp_path / f"{name}.npy", pictures(1))
    source = open_source(listing(tmp_path, f"a 1.npy 5\n{tmp_path}/b.npy\t0\n"), ONE)
    assert [labels.tolist() for _, labels in source.labelled()] == [[5], [0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.npy\nmissing.png\n", r"list\.txt: line 2: no such file: .*missing\.png"),
        ("missing.png 3\n", r"no such file: .*missing\.png$"),
        ("a.npy 3\na.npy\n", "1 of 2 lines have a class number; all or none"),
        ("\n# nothing\n", "names no file"),
        ("list.txt\n", "is neither an image nor an .npy file"),
        ("two.npy\n", r"two\.npy: holds 2 images, a list names one"),
        ("other.npy\n", r"other\.npy has shape"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    np.save(tmp_path / "a.npy", pictures(1))
    np.save(tmp_path / "two.npy", pictures(2))
    np.save(tmp_path / "other.npy", pictures(1, (4, 5, 3)))
    with pytest.raises(SecateurError, match=message):
        list(open_source(listing(tmp_path, text), ONE))


# Noise and arrays from Python ----------------------------------------------------------------------


def test_noise_warns_and_is_the_same_each_time(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        source = open_source("random:3", model((1, 3, 4, 5), (1, 2)))
    assert "calibrating on noise" in caplog.text
    first, again = list(source), list(source)
    assert len(first) == source.images == 3
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(first, again, strict=True) for name in a)
    assert not np.array_equal(first[0]["x"], first[1]["x"])
    assert {name: (a.shape, a.dtype.name) for name, a in first[0].items()} == {
        "x": ((1, 3, 4, 5), "float32"),
        "z": ((1, 2), "float32"),
    }


@pytest.mark.parametrize("text", ["random:", "random:0", "random:-3", "random:many"])
def test_noise_needs_a_number(text: str) -> None:
    with pytest.raises(SecateurError, match="a number of images are wanted, such as random:64"):
        open_source(text, ONE)


def test_iterable_of_batches() -> None:
    batches = [{"x": pictures(1).astype(np.float64)}, {"x": pictures(1)}]
    source = open_source(batches, ONE)
    assert [b["x"].dtype.name for b in source] == ["float32"] * 2
    assert (len(list(source)), source.images) == (2, 2)


def test_a_generator_is_read_as_it_comes_and_once() -> None:
    taken: list[int] = []

    def stream() -> Iterator[dict[str, Array]]:
        for index in range(3):
            taken.append(index)
            yield {"x": pictures(1)}

    source = open_source(stream(), ONE)
    next(iter(source))
    assert taken == [0]
    with pytest.raises(SecateurError, match="can be read once only"):
        iter(source)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"y": pictures(1)}, "calibration batch 0 has arrays y; the inputs are x"),
        ({"x": pictures(2)}, r"input 'x' is float32 \(1, 3, 4, 5\), got float32 \(2, 3, 4, 5\)"),
        ({"x": pictures(1).astype(np.int64)}, "got int64"),
        (pictures(1), "is a ndarray, not a mapping"),
    ],
)
def test_batches_that_do_not_fit_are_refused(batch: Any, message: str) -> None:
    with pytest.raises(SecateurError, match=message):
        list(open_source([batch], ONE))


@pytest.mark.parametrize("name", ["nothing", "nothing.npy.gz"])
def test_missing_source_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecateurError, match="no such calibration data; known are a folder of images"):
        open_source(tmp_path / name, ONE)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("1")
    with pytest.raises(SecateurError, match=r"a\.csv: is no calibration data"):
        open_source(tmp_path / "a.csv", ONE)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.txt"])
def test_a_missing_file_says_so(tmp_path: Path, name: str) -> None:
    with pytest.raises(SecateurError, match=rf"{name}: no such calibration data"):
        open_source(tmp_path / name, ONE)


def test_no_image_at_all_is_refused() -> None:
    with pytest.raises(SecateurError, match="0 images are too few to calibrate with"):
        open_source("random:3", ONE, limit=0)
