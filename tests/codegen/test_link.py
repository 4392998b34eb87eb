"""Generated sources, and the toolchain that compiles and links them."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.folder import cache_folder
from secateur.codegen.link import static_triple
from secateur.codegen.program import Port, Program
from secateur.codegen.program_check import ProgramError
from secateur.codegen.sources import (
    c_string,
    embedding,
    manifest_text,
    model_header,
    write_sources,
    write_weights,
)
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.toolchain import LinkError, Toolchain

EMPTY = Program("empty", TARGETS["x86-64-v3"], (), (), (), (), (), (), 0, 0)


@pytest.mark.parametrize(
    ("name", "triple"),
    [
        ("x86-64-v3", "x86_64-linux-musl"),
        ("rpi3", "aarch64-linux-musl"),
        ("rpi2", "arm-linux-musleabihf"),
    ],
)
def test_static_triple_is_the_musl_twin(name: str, triple: str) -> None:
    assert static_triple(TARGETS[name].cpu) == triple
    assert static_triple(replace(TARGETS[name].cpu, zig_triple=triple)) == triple


def test_weights_lie_at_their_offsets(tmp_path: Path) -> None:
    weights = (np.arange(3, dtype=np.int16), np.zeros((0, 3), np.float32), np.ones((2, 2), np.float16).T)
    write_weights(replace(EMPTY, weights=weights, weight_offsets=(128, 64, 0)), tmp_path / "weights.bin")
    data = (tmp_path / "weights.bin").read_bytes()
    assert len(data) == 134
    assert data[:8] == weights[2].tobytes()
    assert data[8:128] == bytes(120)
    assert data[128:] == weights[0].tobytes()


def test_scalar_and_extension_types_are_weights(tmp_path: Path) -> None:
    import ml_dtypes

    weights = (np.array(1.5, ml_dtypes.bfloat16),)
    write_weights(replace(EMPTY, weights=weights, weight_offsets=(0,)), tmp_path / "weights.bin")
    assert (tmp_path / "weights.bin").read_bytes() == weights[0].tobytes()


def test_large_weights_leave_the_reach_of_x86_code() -> None:
    page = np.broadcast_to(np.zeros(1, np.int8), (1 << 30,))  # one byte of memory
    for name, section in (("x86-64-v3", ".lrodata"), ("rpi3", ".rodata")):
        large = replace(EMPTY, target=TARGETS[name], weights=(page,), weight_offsets=(0,))
        assert section in embedding(large)[0]
    assert ".lrodata" not in embedding(EMPTY)[0]


def test_manifest_is_sorted_json() -> None:
    manifest = json.loads(manifest_text(replace(EMPTY, manifest={"passes": ["fuse"]})))
    assert manifest["passes"] == ["fuse"]
    assert manifest["target"]["cpu"] == "haswell"
    assert list(manifest) == sorted(manifest)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"inputs": []}, r"the manifest's \['inputs'\] are written by the artifact itself"),
        ({"scale": float("nan")}, "cannot be written as JSON"),
        ({"array": np.zeros(1)}, "cannot be written as JSON"),
    ],
)
def test_bad_manifests_are_refused(extra: dict[str, object], message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        manifest_text(replace(EMPTY, manifest=extra))


def test_header_has_the_ports_and_the_interface() -> None:
    header = model_header(replace(EMPTY, inputs=(Port("x", "i8", (2, 3)),), outputs=(Port("y", "f32", ()),)))
    assert '#define MODEL_INPUT_0_NAME "x"\n#define MODEL_INPUT_0_DTYPE SECATEUR_I8\n' in header
    assert "#define MODEL_INPUT_0_DIMS {2, 3}\n#define MODEL_INPUT_0_BYTES 6\n" in header
    assert "#define MODEL_OUTPUT_0_RANK 0\n#define MODEL_OUTPUT_0_DIMS {0}\n" in header
    assert "secateur_status secateur_run(" in header


def test_strings_of_any_bytes_are_c_literals() -> None:
    assert c_string('a"b\\?ü\n') == '"a\\042b\\134\\077\\303\\274\\012"'


def _source(folder: Path, text: str) -> None:
    (folder / "a.c").write_text(text)


def test_compile_errors_carry_the_compilers_message(tmp_path: Path) -> None:
    _source(tmp_path, "int f(void) { return nothing; }\n")
    with pytest.raises(
        LinkError, match=r"(?s)zig cc failed for x86_64-linux-gnu.2.17.*undeclared identifier"
    ):
        Toolchain("x86_64-linux-gnu.2.17", cache_folder()).compile(tmp_path, "a.c", "a.o")


def test_an_unknown_triple_is_a_link_error(tmp_path: Path) -> None:
    _source(tmp_path, "int f(void) { return 0; }\n")
    with pytest.raises(LinkError, match="zig cc failed for z80-cpm-none"):
        Toolchain("z80-cpm-none", cache_folder()).compile(tmp_path, "a.c", "a.o")


def test_a_missing_linker_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(LinkError, match="pip install ziglang"):
        Toolchain("x86_64-linux-gnu.2.17", tmp_path).compile(tmp_path, "a.c", "a.o")


def test_runtime_objects_are_compiled_once_and_when_edited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools = Toolchain("x86_64-linux-gnu.2.17", tmp_path / "cache")
    folder = tmp_path / "build"
    folder.mkdir()
    write_sources(EMPTY, folder)
    compiled: list[str] = []

    def compile_(_: Toolchain, folder: Path, source: str, output: str) -> str:
        compiled.append(source)
        (folder / output).write_bytes(source.encode())
        return output

    monkeypatch.setattr(Toolchain, "compile", compile_)
    first = tools.runtime(folder, ("pool.c", "cpu.c"))
    assert tools.runtime(folder, ("pool.c", "cpu.c", "state.c"))[:2] == first
    assert sorted(compiled) == ["cpu.c", "pool.c", "state.c"]
    assert (folder / first[0]).read_bytes() == b"pool.c"
    store = next((tmp_path / "cache" / "runtime").iterdir())
    assert sorted(os.listdir(store)) == ["cpu.o", "pool.o", "state.o"]
    (folder / "internal.h").write_text("/* edited */")
    tools.runtime(folder, ("cpu.c",))
    assert compiled[3:] == ["cpu.c"]
