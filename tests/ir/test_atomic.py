"""Write, then rename: what stands at a path is the old or the new, whole, and nothing else is left."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from secateur.ir.support.atomic import replacing, write_whole


def _file(path: Path, text: str) -> None:
    path.write_text(text)


def _folder(path: Path, text: str) -> None:
    path.mkdir()
    (path / "inside").write_text(text)


def content(path: Path) -> str:
    return (path / "inside" if path.is_dir() else path).read_text()


make = pytest.mark.parametrize("make", [_file, _folder])


@make
@pytest.mark.parametrize("before", [True, False])
def test_a_block_that_ends_well_replaces(
    tmp_path: Path, make: Callable[[Path, str], None], before: bool
) -> None:
    path = tmp_path / "thing"
    if before:
        make(path, "old")
    with replacing(path) as draft:
        make(draft, "new")
        assert not path.exists() or content(path) == "old"
    assert content(path) == "new"
    assert os.listdir(tmp_path) == ["thing"]


def _interrupted(path: Path, make: Callable[[Path, str], None], error: type[BaseException]) -> None:
    with replacing(path) as draft:
        make(draft, "half")
        raise error


@make
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_block_that_raises_changes_nothing(
    tmp_path: Path, make: Callable[[Path, str], None], error: type[BaseException]
) -> None:
    path = tmp_path / "thing"
    make(path, "old")
    with pytest.raises(error):
        _interrupted(path, make, error)
    assert content(path) == "old"
    assert os.listdir(tmp_path) == ["thing"]


@make
def test_a_folder_that_cannot_take_its_place_leaves_the_old(
    tmp_path: Path, make: Callable[[Path, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "thing"
    _folder(path, "old")
    rename = Path.rename
    refused = lambda a, b: _refuse(a) if a.suffix == ".partial" else rename(a, b)  # noqa: E731
    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="thing") as caught, replacing(path) as draft:
        make(draft, "new")
    assert caught.value.filename == str(path)
    monkeypatch.undo()
    assert content(path) == "old"
    assert os.listdir(tmp_path) == ["thing"]


def _refuse(path: Path) -> None:
    raise PermissionError(13, "Permission denied", str(path))


def test_an_error_names_the_file_that_was_meant(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "thing"
    with pytest.raises(FileNotFoundError) as caught:
        write_whole(path, b"new")
    assert caught.value.filename == str(path)


def test_an_error_about_another_file_keeps_its_name(tmp_path: Path) -> None:
    other = tmp_path / "other"
    with pytest.raises(FileNotFoundError) as caught, replacing(tmp_path / "thing"):
        other.read_bytes()
    assert caught.value.filename == str(other)
