"""External data: read from inside the model's folder, and from nowhere else."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from secateur.ir.errors import ModelError
from secateur.ir.interpreter import run
from secateur.ir.onnx_reader import read_model
from tests.onnx.models import with_initializer


def _external(folder: Path, location: str, **entries: str) -> Path:
    """A model in `folder` whose initializer lies outside the file."""
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "model.onnx"
    path.write_bytes(with_initializer(tensor).SerializeToString())
    return path


def test_external_data_is_read(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.bin").write_bytes(b"pad!" + np.array([3, 4], np.float32).tobytes())
    graph = read_model(_external(tmp_path, "weights/w.bin", offset="4", length="8"))
    assert run(graph, {"x": np.ones(2, np.float32)})["y"].tolist() == [4, 5]


@pytest.mark.parametrize(
    "location", ["/etc/hostname", "../secret.bin", "a/../../secret.bin", "link", "folder/secret.bin", ""]
)
def test_external_data_never_leaves_the_folder(tmp_path: Path, location: str) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(b"\0" * 8)
    (inside / "link").symlink_to(tmp_path / "secret.bin")
    (inside / "folder").symlink_to(tmp_path)
    with pytest.raises(ModelError, match=r"outside the model's folder|has no location|is missing"):
        read_model(_external(inside, location))


ENTRIES = [
    ({"offset": "4"}, "ends before byte 12"),
    ({"offset": "-4"}, "external data has offset '-4'"),
    ({"offset": "9" * 30}, "external data has offset"),
    ({"length": "4"}, "4 bytes of external data, its shape needs 8"),
    ({"length": "x"}, "external data has length 'x'"),
]


@pytest.mark.parametrize(("entries", "message"), ENTRIES)
def test_external_data_that_does_not_fit(tmp_path: Path, entries: dict[str, str], message: str) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    with pytest.raises(ModelError) as caught:
        read_model(_external(tmp_path, "w.bin", **entries))
    assert message in str(caught.value)


def test_external_data_of_a_model_in_memory(tmp_path: Path) -> None:
    data = _external(tmp_path, "w.bin").read_bytes()
    with pytest.raises(ModelError, match="external data needs a model read from a file"):
        read_model(data)


LOCATIONS = [
    ("x" * 100_000, "cannot be read: File name too long"),
    ("/".join("d" * 200 for _ in range(100)), "cannot be read: File name too long"),
    (".", "is a folder, not a file"),
    ("sub", "is a folder, not a file"),
    ("w.bin/inside", "is missing"),
    ("loop", "is a link to itself"),
    ("pipe", "is not an ordinary file"),
    ("a\0b", "has no location"),
]


@pytest.mark.parametrize(("location", "message"), LOCATIONS, ids=[m for _, m in LOCATIONS])
def test_locations_that_are_no_files(tmp_path: Path, location: str, message: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ModelError, match=message) as caught:
        read_model(_external(tmp_path, location))
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("code", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_what_the_system_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(np, "fromfile", refuse)
    with pytest.raises(ModelError, match=f"'w.bin' cannot be read: {os.strerror(code)}"):
        read_model(_external(tmp_path, "w.bin"))


def test_an_entry_given_twice(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"\0" * 8)
    path = _external(tmp_path, "w.bin", offset="0")
    proto = onnx.load(path, load_external_data=False)
    proto.graph.initializer[0].external_data.add(key="offset", value="4")
    path.write_bytes(proto.SerializeToString())
    with pytest.raises(ModelError, match="external data has an entry twice"):
        read_model(path)
