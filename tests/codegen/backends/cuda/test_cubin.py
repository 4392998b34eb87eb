"""Finished code beside PTX: made by ptxas where that is installed, and taken by the GPU that it is for."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

import secateur
from secateur import SecateurError
from secateur.codegen.backends.cuda.ptx import assembler
from secateur.runtime.manifest import read_manifest
from tests.passes.texts import build

from ...simt.emulator import Gpu, configure, stand_in
from .networks import FLOATS, TARGET, compiled, inputs
from .test_runtime import check

pytestmark = pytest.mark.usefixtures("gpu")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if assembler.ptxas() is None:
        pytest.skip("needs ptxas: pip install -e '.[cuda]'")
    return compiled(build(FLOATS), tmp_path_factory.mktemp("finished"), cubin=True).path


@pytest.mark.parametrize(("capability", "cubins"), [(75, 1), (80, 0), (90, 0)])
def test_the_gpu_that_it_is_for_takes_it_and_others_the_ptx(
    finished: Path, capability: int, cubins: int
) -> None:
    configure(Gpu(capability=capability))
    before = stand_in().simt_cubins()
    with secateur.load(finished) as session:
        check(session.run(inputs()))
    assert stand_in().simt_cubins() - before == cubins
    assert read_manifest(finished)["device"]["cubin"] == "sm_75"


def test_a_driver_that_does_not_take_it_gets_the_ptx(finished: Path) -> None:
    """Drivers older than the assembler refuse what it makes."""
    data, damaged = bytearray(finished.read_bytes()), finished.with_name("damaged.so")
    at = data.index(b"\x7fELF", 4)
    data[at + 18 : at + 20] = struct.pack("<H", 62)  # code of another machine
    damaged.write_bytes(data)
    configure(Gpu(capability=75))
    before = stand_in().simt_cubins()
    with secateur.load(_resealed(damaged)) as session:
        check(session.run(inputs()))
    assert stand_in().simt_cubins() == before


def _resealed(path: Path) -> Path:
    from secateur.codegen.artifact import seal
    from secateur.codegen.destination import SEAL_FIELDS, SEAL_MAGIC

    data = bytearray(path.read_bytes())
    at = data.index(SEAL_MAGIC) + len(SEAL_MAGIC)
    data[at : at + SEAL_FIELDS.size] = bytes(SEAL_FIELDS.size)
    path.write_bytes(data)
    seal(path)
    return path


def test_both_kinds_of_code_are_in_the_dumps(finished: Path) -> None:
    kernels = finished.parent / "ir" / "kernels"
    assert list(kernels.glob("*.ptx"))
    assert (kernels / "model.sass").exists() == (assembler.nvdisasm() is not None)


def test_a_disassembler_that_does_not_know_the_architecture_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvdisasm"
    program.write_text('#!/bin/sh\necho "$2 is of an old architecture" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setattr(assembler, "nvdisasm", lambda: program)
    said = "// nvdisasm failed (exit code 1): model.cubin is of an old architecture\n"
    assert assembler.sass(b"code") == said


def test_without_an_assembler_it_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembler, "ptxas", lambda: None)
    with pytest.raises(
        SecateurError, match=r'needs ptxas, which is not found: pip install "secateur\[cuda\]"'
    ):
        secateur.compile(build(FLOATS), tmp_path / "m.so", TARGET, cubin=True)


def test_processors_have_no_cubins(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="cubins are for NVIDIA's GPUs; the backend 'cpu' makes none"):
        secateur.compile(build(FLOATS), tmp_path / "m.so", "host", cubin=True)
