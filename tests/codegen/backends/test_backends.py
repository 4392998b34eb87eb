"""A backend is added by its own files and one entry of a table: here a toy, through the whole road."""

from __future__ import annotations

import warnings
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

import pytest

import secateur
from secateur.codegen import primitives
from secateur.codegen.backends.backend import KernelBackend
from secateur.codegen.backends.cpu.primitives import PRIMITIVES
from secateur.codegen.backends.registry import BACKENDS, backend_of, kernels_of
from secateur.codegen.targets.rows import GPUS, TARGETS
from secateur.codegen.targets.target import Machine, Target
from secateur.costs.candidates import network_of
from secateur.ir.errors import ModelNote, SecateurError
from secateur.ir.parser import parse_graph
from secateur.options import Int8, Limits, Watch
from secateur.passes.framework.manager import PassManager
from secateur.passes.framework.pipeline import parse_pipeline
from secateur.pipeline import pipeline_of
from secateur.prepare import cost_table, prepare
from secateur.tools.cli.checks import check_output

from . import toy_backend
from .toy_backend import NARROW, ROOMY, Toy

TEXT = """
graph @two(%x: tensor<1x4x5x5xf32>) {
  %y = nn.map(%x) {epilogue = [relu]} : tensor<1x4x5x5xf32>
  %z = nn.softmax(%y) {axis = 1} : tensor<1x4x5x5xf32>
  return %z as "y"
}
"""


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table's entry, and rows."""
    monkeypatch.setitem(BACKENDS, Toy, toy_backend.__name__)
    for row in (ROOMY, NARROW):
        monkeypatch.setitem(TARGETS, row.name, row)


def compile_toy(path: Path, target: str = "toy", **more: Any) -> secateur.Artifact:
    return secateur.compile(parse_graph(TEXT), path, target, kind="txt", **more)  # type: ignore[arg-type]


def test_its_pipeline_leads_to_its_emit(tmp_path: Path) -> None:
    made = compile_toy(tmp_path / "two.txt", watch=Watch(dump_ir=tmp_path / "ir"))
    assert made.path.read_text() == "nn.map\nnn.softmax"
    assert made.manifest["pipeline"] == "canonicalize,fuse"
    assert (tmp_path / "ir" / "kernels" / "operators.txt").read_text() == "nn.map\nnn.softmax"


def test_what_it_refuses_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SecateurError, match="2 operators, toy-narrow runs 1"):
        compile_toy(tmp_path / "two.txt", "toy-narrow")
    with pytest.raises(SecateurError, match="limits are kept by choosing primitives"):
        compile_toy(tmp_path / "two.txt", limits=Limits(memory=1 << 20))
    assert not (tmp_path / "two.txt").exists()


@pytest.mark.parametrize(
    ("name", "rates"),
    [("jetson-nano", (118, 236)), ("jetson-tx2", (333, 666)), ("jetson-xavier-cpu", (18, 35))],
)
def test_bytes_that_do_not_pay_are_told_before_compiling(name: str, rates: tuple[int, int]) -> None:
    wanted = f"at most {rates[0]} billion multiply-adds a second in int8.* and {rates[1]} in fp16"
    with pytest.warns(ModelNote, match=wanted):
        pipeline_of(parse_graph(TEXT), TARGETS[name], None, Limits(), Int8("random:2"))


def test_bytes_that_pay_are_not_told() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("jetson-xavier", "cuda-sm_61", "rpi4", "rpi5"):
            pipeline_of(parse_graph(TEXT), TARGETS[name], None, Limits(), Int8("random:2"))


def test_quantization_is_put_into_its_pipeline() -> None:
    text = pipeline_of(parse_graph(TEXT), ROOMY, None, Limits(), Int8("random:2"))
    assert [step.name for step in parse_pipeline(text)] == ["canonicalize", "fuse", "quantize"]


def test_what_has_its_primitives_is_not_quantized() -> None:
    chosen = PassManager(prepare("canonicalize,fuse,select", TARGETS["rpi4"])).run(parse_graph(TEXT)).graph
    with pytest.raises(SecateurError, match="precision is set before primitives are chosen"):
        pipeline_of(chosen, TARGETS["rpi4"], None, Limits(), Int8("random:2"))


def test_its_costs_are_those_of_its_targets() -> None:
    op = parse_graph(TEXT).operators[0]
    assert [(c.primitive, c.seconds) for c in cost_table(ROOMY).choices(op)] == [("toy", 1.0)]
    assert {c.primitive for c in cost_table(TARGETS["rpi4"]).choices(op)}.isdisjoint({"toy"})


def test_the_command_line_asks_it_where_it_writes(tmp_path: Path) -> None:
    check_output("toy", tmp_path / "two.txt", "txt")
    with pytest.raises(SecateurError, match="unknown kind of artifact 'so'; known: txt"):
        check_output("toy", tmp_path / "two.so", "so")
    with pytest.raises(SecateurError, match="unknown kind of artifact 'txt'; known: so, dir, tar"):
        check_output("rpi4", tmp_path / "two.txt", "txt")


def test_kernels_that_it_has_not_cannot_be_timed() -> None:
    with pytest.raises(SecateurError, match="target toy has no kernels: the backend 'toy' compiles none"):
        kernels_of(ROOMY)
    with pytest.raises(SecateurError, match="target toy has no kernels"):
        network_of(parse_graph(TEXT), ROOMY)


def test_a_processor_s_facts_are_not_a_toy_s() -> None:
    with pytest.raises(TypeError, match="toy is no processor"):
        print(ROOMY.lanes)


def test_a_class_of_machines_without_a_backend_is_refused() -> None:
    class Abacus(Machine):
        pass

    with pytest.raises(SecateurError, match="no backend compiles for machines of the class Abacus"):
        backend_of(Target("abacus", Abacus()))


def test_every_row_has_a_backend_of_its_class() -> None:
    names = {row.name: backend_of(row).name for row in TARGETS.values()}
    assert names.pop("toy") == names.pop("toy-narrow") == "toy"
    assert names.pop("ncs2") == "myriad"
    assert names.pop("edgetpu") == names.pop("litert") == "tflite"
    assert {names.pop(row.name) for row in GPUS.values()} == {"cuda"}
    assert set(names.values()) == {"cpu"}
    assert isinstance(kernels_of(TARGETS["rpi4"]), KernelBackend)


def test_no_list_of_primitives_is_forgotten() -> None:
    """Modules are listed by name, which no import would miss; some are parts of another's list."""
    rooms = walk_packages(primitives.__path__, f"{primitives.__name__}.")
    lists = [getattr(import_module(room.name), "PRIMITIVES", ()) for room in rooms]
    assert {primitive.name for found in lists for primitive in found} == {p.name for p in PRIMITIVES.all}
    assert {id(primitive) for found in lists for primitive in found} == {id(p) for p in PRIMITIVES.all}


def test_a_file_is_not_called_as_another_kind(tmp_path: Path) -> None:
    """Known before any work."""
    backend = backend_of(TARGETS["edgetpu"])
    with pytest.raises(SecateurError, match=r"m\.so: a file for this target is tflite"):
        backend.check_destination(tmp_path / "m.so", "")
