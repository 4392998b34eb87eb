"""A limit on the accuracy of labelled images: the digits network keeps it, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secateur
from secateur.passes.quantize.calibration.ranges import Ranges, write_ranges
from tests.sampled import sampled_rows
from tests.secateur.test_quantize import HELD_OUT, IMAGES, MODEL

FEW = slice(20, 24)  # four digits, all of which the float network knows


def labelled(folder: Path, wrong: int = 0) -> Path:
    """A file of four digits, of which the first `wrong` have another label than their own."""
    path, labels = folder / "digits.npz", HELD_OUT.labels[FEW].copy()
    labels[:wrong] = (labels[:wrong] + 1) % 10
    np.savez(path, image=IMAGES[FEW], labels=labels)
    return path


def quantized(folder: Path, **options: Any) -> secateur.QuantizationReport:
    return secateur.quantize(MODEL, secateur.Int8(labelled(folder), **options))


@pytest.fixture(scope="module")
def ranges(tmp_path_factory: pytest.TempPathFactory) -> Ranges:
    return quantized(tmp_path_factory.mktemp("ranges")).ranges


def spoiled(ranges: Ranges, names: set[str], folder: Path) -> Path:
    """The ranges in a file, those of `names` far too narrow."""
    found = {n: (0.0, 0.05) if n in names else r for n, r in ranges.ranges.items()}
    write_ranges(Ranges("by hand", ranges.images, found), folder / "ranges.json")
    return folder / "ranges.json"


@pytest.mark.parametrize("wrong", [0, 1])
def test_a_limit_that_holds_at_once_keeps_nothing_in_float(wrong: int, tmp_path: Path) -> None:
    report = secateur.quantize(MODEL, secateur.Int8(labelled(tmp_path, wrong), max_drop=0))
    assert report.accuracy == (100 - 25 * wrong, 100 - 25 * wrong)
    assert report.float_layers == ()


SPOILED = [
    ({"image"}, "/conv1/Conv"),
    ({"/avgpool/GlobalAveragePool_output_0", "/Flatten_output_0"}, "/fc/Gemm"),
]


@pytest.mark.parametrize(("values", "layer"), sampled_rows(SPOILED, lambda _, layer: layer == "/conv1/Conv"))
def test_the_layer_that_costs_the_accuracy_stays_in_float(
    values: set[str], layer: str, ranges: Ranges, tmp_path: Path
) -> None:
    bad = spoiled(ranges, values, tmp_path)
    first = quantized(tmp_path, ranges=bad, max_drop=100.0)
    assert first.accuracy is not None
    assert first.accuracy[1] < 50
    assert first.float_layers == ()
    report = quantized(tmp_path, ranges=bad, max_drop=0.0)
    assert report.accuracy == (100.0, 100.0)
    assert report.float_layers == (layer,)
    again = quantized(tmp_path, ranges=bad, keep_float=report.float_layers)
    assert again.rows == report.rows


# Refusals ------------------------------------------------------------------------------------------


def test_an_accuracy_that_no_layers_in_float_bring_back_is_refused(ranges: Ranges, tmp_path: Path) -> None:
    bad, path = spoiled(ranges, set(ranges.ranges), tmp_path), tmp_path / "digits.onnx"
    message = r"even with 21 of 22 layers in float: .*falls from 100\.00 % to .* \(25 points allowed\)"
    with pytest.raises(secateur.SecateurError, match=message):
        secateur.quantize(MODEL, secateur.Int8(labelled(tmp_path), ranges=bad, max_drop=25), path)
    assert not path.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [("file", "need labels: an .npz with an array 'labels'"), ("list", "need labels")],
)
def test_images_without_labels_are_refused(source: str, message: str, tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES[:2])
    given = tmp_path / "images.npy" if source == "file" else [{"image": image[None]} for image in IMAGES[:2]]
    with pytest.raises(secateur.SecateurError, match=message):
        secateur.quantize(MODEL, secateur.Int8(given, max_drop=1.0))
