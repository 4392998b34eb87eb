"""The kernel cache: damaged entries count as absent, and a folder that others may write is not used."""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur.codegen import folder
from secateur.codegen.cache import kernel_path, load_kernel, store_kernel
from secateur.codegen.entries import read_entry, write_entry
from secateur.codegen.folder import cache_folder
from secateur.codegen.program import Module
from secateur.codegen.runtime_files import RUNTIME_FILES, runtime_folder
from secateur.codegen.toolchain import LinkError, Toolchain

KERNEL = Module("k_1", bytes(range(256)) * 20, {"py": "tir ä", "ll": "define void @k_1_kernel()"})


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("SECATEUR_CACHE", str(tmp_path / "cache"))
    folder._usable.cache_clear()
    yield tmp_path / "cache"
    folder._usable.cache_clear()


def test_a_kernel_comes_back_as_it_went() -> None:
    assert load_kernel("k_1") is None
    store_kernel(KERNEL)
    assert load_kernel("k_1") == KERNEL
    assert [path.name for path in kernel_path("k_1").parent.iterdir()] == [kernel_path("k_1").name]


def test_every_damage_counts_as_absent() -> None:
    store_kernel(KERNEL)
    path, chosen = kernel_path("k_1"), random.Random(0)
    whole = path.read_bytes()
    for _ in range(400):
        place, bit = chosen.randrange(len(whole)), chosen.randrange(8)
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
        assert load_kernel("k_1") is None, f"bit {bit} of byte {place}"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert load_kernel("k_1") is None, f"{length} bytes"
    path.write_bytes(whole + b"\0")
    assert load_kernel("k_1") is None
    path.write_bytes(whole)
    assert load_kernel("k_1") == KERNEL


def test_an_entry_under_another_name_is_no_entry(tmp_path: Path) -> None:
    write_entry(tmp_path / "one", b"data")
    (tmp_path / "one").rename(tmp_path / "two")
    assert read_entry(tmp_path / "two") is None


def test_a_damaged_object_of_the_runtime_is_compiled_anew(tmp_path: Path, own_cache: Path) -> None:
    for name in RUNTIME_FILES:
        (tmp_path / name).write_bytes(runtime_folder().joinpath(name).read_bytes())
    tools = Toolchain("x86_64-linux-gnu.2.17", cache_folder())
    (name,) = tools.runtime(tmp_path, ["cpu.c"])
    good = (tmp_path / name).read_bytes()
    (kept,) = own_cache.glob("runtime/*/cpu.o")
    kept.write_bytes(kept.read_bytes()[:-5] + b"12345")
    tools.runtime(tmp_path, ["cpu.c"])
    assert (tmp_path / name).read_bytes() == good
    assert read_entry(kept) == good


def test_libc_is_built_anew_where_linking_fails(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Zig's own files have no checksum."""
    (cache_folder() / "zig").mkdir()
    (cache_folder() / "zig" / "damaged").touch()

    def run(self: Toolchain, _folder: Path, _arguments: list[str]) -> None:
        if (self.cache / "zig" / "damaged").exists():
            raise LinkError(f"{self.cache}/zig/o/1/crt1.o: bad file")

    monkeypatch.setattr(Toolchain, "_run", run)
    assert Toolchain("t", cache_folder()).link(tmp_path, [], ["a.o"], "a") == tmp_path / "a"
    assert not (own_cache / "zig").exists()


def test_the_folder_is_for_its_owner(own_cache: Path) -> None:
    assert cache_folder() == own_cache
    store_kernel(KERNEL)
    assert own_cache.stat().st_mode & 0o777 == 0o700
    assert (own_cache / "kernels").stat().st_mode & 0o777 == 0o700


def _refused(folder: Path, reason: str) -> None:
    """The folder is not used, which is said once."""
    with pytest.warns(UserWarning, match=rf"the cache {folder} {reason}.*; nothing is kept there"):
        instead = cache_folder()
    assert instead != folder
    assert instead.stat().st_mode & 0o777 == 0o700
    with warnings.catch_warnings(action="error"):
        assert cache_folder() == instead
    store_kernel(KERNEL)
    assert load_kernel("k_1") == KERNEL


def test_a_folder_that_everybody_may_write_is_not_used(own_cache: Path) -> None:
    own_cache.mkdir()
    own_cache.chmod(0o777)
    _refused(own_cache, "can be written by everybody")
    assert list(own_cache.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_folder_of_somebody_else_is_not_used(own_cache: Path) -> None:
    own_cache.mkdir()
    os.chown(own_cache, 54321, 54321)
    _refused(own_cache, "belongs to another user .number 54321.")
    assert list(own_cache.iterdir()) == []


def test_a_file_where_the_folder_should_be(own_cache: Path) -> None:
    own_cache.write_text("mine")
    _refused(own_cache, "cannot be made")
    assert own_cache.read_text() == "mine"
