"""The side file of a pruned model: written, read back, refused, and true of the ONNX file that was pruned."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from secateur.ir.channels import find_channels
from secateur.ir.errors import SecateurError
from secateur.ir.onnx_writer import to_onnx
from secateur.model import read
from secateur.passes.prune.kept import kept_text, read_kept, write_kept
from secateur.passes.prune.remove import kept_indices, remove
from secateur.tools.fuzz.seeds import SEEDS, Seed

KEPT = {"conv1.weight": {0: [0, 2]}, 'a"b': {0: [1], 1: [0, 2]}}


def initializers(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
@pytest.mark.filterwarnings("ignore::secateur.ir.errors.ModelNote")
def test_the_originals_initializers_sliced_are_the_pruned_ones(seed: Seed, tmp_path: Path) -> None:
    """Every initializer that lost something is named, and nothing else changed."""
    onnx.save(seed.model(), tmp_path / "model.onnx")
    graph = read(tmp_path / "model.onnx")
    channels = find_channels(graph)
    gone = {group.name: range(0, group.size - 1, 2) for group in channels.groups}
    write_kept(kept_indices(graph, gone, channels), tmp_path / "kept.json")
    kept = read_kept(tmp_path / "kept.json")
    before, after = (
        initializers(onnx.load(tmp_path / "model.onnx")),
        initializers(to_onnx(remove(graph, gone))),
    )
    assert kept.keys() <= before.keys()
    assert kept.keys() <= after.keys()
    for name in before.keys() & after.keys():
        wanted = before[name]
        for axis, indices in kept.get(name, {}).items():
            wanted = np.take(wanted, indices, axis)
        np.testing.assert_array_equal(after[name], wanted)


def test_a_bias_and_a_transposed_matrix_keep_name_and_axis(tmp_path: Path) -> None:
    onnx.save(SEEDS[0].model(), tmp_path / "model.onnx")
    graph = read(tmp_path / "model.onnx")
    (group,) = find_channels(graph).groups
    pruned = initializers(to_onnx(remove(graph, {group.name: [1]})))
    kept = kept_indices(graph, {group.name: [1]})
    assert (kept["bias"], kept["w3"]) == ({0: [0, 2]}, {1: [0, 2]})
    assert (pruned["bias"].shape, pruned["w3"].shape) == ((2,), (5, 2))


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    write_kept(KEPT, tmp_path / "kept.json")
    assert read_kept(tmp_path / "kept.json") == KEPT
    assert kept_text({"w": {0: [0, 2]}}) == '{\n "w": {"0": [0, 2]}\n}\n'


def test_nothing_removed_is_an_empty_object(tmp_path: Path) -> None:
    write_kept({}, tmp_path / "kept.json")
    assert read_kept(tmp_path / "kept.json") == {}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON: line 1"),
        ("[]", "holds no kept indices"),
        ('{"w": [0]}', r"'w' has \[0\], not indices by axis"),
        ('{"w": {"x": [0]}}', "'w' has an axis 'x'"),
        ('{"w": {"0": [true]}}', "'w', axis 0: no list of indices"),
        ('{"w": {"0": [-1]}}', "no list of indices"),
        ('{"w": {"0": [2, 2]}}', "indices do not ascend"),
        ('{"w": {}, "w": {}}', "'w' is given twice"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    path.write_text(text)
    with pytest.raises(SecateurError, match=says) as refused:
        read_kept(path)
    assert str(path) in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match=r"none\.json: cannot be read"):
        read_kept(tmp_path / "none.json")
