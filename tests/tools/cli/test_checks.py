"""What is wrong with a command line is said before any work: nothing that work needs has been imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "onnx", "networkx", "tvm", "llvmlite", "onnxruntime", "jinja2", "torch", "rich", "pydantic",
    "secateur.prepare", "secateur.pipeline",
)  # fmt: skip
NAMES = ("numpy", "secateur.ir.graph")  # what a wrong name can be told without
EACH = f"""
import contextlib, io, json, sys
from secateur.tools.cli.main import app

def run(words):
    before, said, code = set(sys.modules), io.StringIO(), None
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
        try:
            app(words, prog_name="secateur")
        except SystemExit as left:
            code = left.code
    return code, said.getvalue(), sorted(set({HEAVY + NAMES!r}) & (set(sys.modules) - before))

print(json.dumps([run(words) for words in json.loads(sys.argv[1])]))
"""

INT8 = "--quantize int8 --calibration random:2"
REFUSED = [
    ("compile {model} --target nonsense", "unknown target 'nonsense'"),
    ("compile {model} --target", "--target"),
    ("compile {model} --pipeline canonicalize,fuze", "did you mean 'fuse'?"),
    ("compile {model} --pipeline fuse{{levl=basic}}", "pass fuse has no option 'levl'"),
    ("compile {model} --pipeline memory,fuse", "takes stage"),
    ("compile {model} --pipeline fuse --memory 1MiB", "does not go together with a pipeline"),
    ("compile {model} --memory 4Mb4", "expected a size"),
    ("compile {model} --latency 4", "expected a time with its unit"),
    ("compile {model} --kind zip", "--kind"),
    ("compile {model} --shape x=axb", "expected a name and dimensions"),
    ("compile {model} --constant x=", "is not a number"),
    ("compile {model} --costs {folder}/no.json", "no.json: No such file"),
    ("compile {model} --tune --target rpi4", "target rpi4 is another"),
    ("compile {model} --verify=artifact --target rpi4", "for rpi4 cannot run on this machine"),
    ("compile {model} -o /proc/no/model.so", "/proc/no/model.so: No such file"),
    ("compile {model} -o {model}/model.so", "Not a directory"),
    ("compile {model} -o {folder}", "holds no artifact; it is not replaced"),
    ("compile {model} -o {folder} --kind so", "is a folder; it is not replaced"),
    ("compile {model} --dump-ir {model}", "Not a directory"),
    ("compile {folder}/no.onnx", "no.onnx: No such file"),
    ("compile {folder}", "is a compiled artifact"),
    ("compare {folder}/../m.tflite", "is a TFLite file; this command wants the model"),
    (f"compile {{model}} {INT8} --ranges {{folder}}/no.json", "no.json: No such file"),
    (f"compile {{model}} {INT8} --report {{folder}}/no/r.csv", "there is no folder"),
    (f"compile {{model}} {INT8} --save-ranges {{folder}}/no/r.json", "there is no folder"),
    (f"compile {{model}} {INT8} --mean x", "--mean x: numbers with commas"),
    (f"compile {{model}} {INT8} --profile --target rpi4", "target rpi4 is another"),
    ("compile {model} --quantize int8", "needs --calibration"),
    ("compile {model} --quantize int8 --calibration {folder}/no", "no such calibration data"),
    ("compile {model} --quantize int8 --calibration {folder}", "holds no image"),
    ("compile {model} --quantize int8 --calibration random:0", "a number of images"),
    ("quantize {model} --calibration random:2 --target nonsense", "unknown target"),
    ("quantize {model} --calibration random:2 -o {folder}/no/q.onnx", "q.onnx: No such file"),
    ("quantize {model} --calibration random:2 -o {folder}", "is a folder; name a file"),
    ("select {model} --target nonsense", "unknown target"),
    ("select {model} --csv {folder}/no/f.csv", "f.csv: No such file"),
    ("select {model} --frontier {folder}/no/f.html", "f.html: No such file"),
    ("profile {model} --target rpi4", "does not run here"),
    ("profile {model} --analytic -o {folder}/no/t.json", "t.json: No such file"),
    ("inspect {model} --pipeline fuze", "did you mean 'fuse'?"),
    ("inspect {model} --target nonsense", "unknown target"),
    ("opt {model} --pipeline fuze", "did you mean 'fuse'?"),
    ("opt {model} -o {folder}/no/a.sir", "a.sir: No such file"),
    ("compare {model} --target rpi4", "for rpi4 cannot run on this machine"),
    ("compare {model} {folder}/no.so", "no.so: No such file"),
    ("compare {model} --input {folder}/no.npy", "no.npy: No such file"),
    ("run {folder}/no.so", "no.so: No such file"),
    ("run {model} --input x={folder}/no.npy", "no.npy: No such file"),
    ("run {model} --input random:0 --output-dir {model}", "Not a directory"),
    ("bench {model} --input random:0 --resize 9", "no --input is an image file"),
]


WRONG_NAMES = (
    "compile {model} --target nonsense",
    "compile {model} --pipeline canonicalize,fuze",
    "compile {model} --pipeline fuse{{levl=basic}}",
    "compile {model} --pipeline fuse{{level=basic}}",
    "compile {model} --pipeline quantize{{winograd=3}}",
    "compile {model} --pipeline prune{{blocks=maybe}}",
    "compile {model} --pipeline select{{memory=4MB}}",
    "compile {model} --pipeline memory,fuse",
    "opt {model} --pipeline quantize,select,fuse",
    "compile {model} --pipeline fuse --memory 1MiB",
    "compile {model} --memory 4Mb4",
    "compile {model} --kind zip",
    "compile {model} --quantise int8",
    "compile {folder}/no.onnx",
    "quantize {model} --calibration random:2 --target nonsense",
    "select {model} --target nonsense",
    "select {model} --csv {folder}/no/f.csv",
    "staircase {model} --target nonsense",
    "inspect {model} --pipeline fuze",
    "opt {model} --pipeline fuze",
    "prune {model} --target nonsense",
    "run {folder}/no.so",
    "bench {folder}/no.so",
)
Outcome = tuple[int, str, list[str]]


def run(lines: list[list[str]], where: Path) -> list[Outcome]:
    """Exit code, what was said, and what was imported of what is heavy, of commands in one process."""
    words = [sys.executable, "-c", EACH, json.dumps(lines)]
    done = subprocess.run(words, cwd=where, capture_output=True, text=True, timeout=120)
    return [(code, said, heavy) for code, said, heavy in json.loads(done.stdout)]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands run: with a folder that is nobody's artifact."""
    place = tmp_path_factory.mktemp("place")
    (place / "folder").mkdir()
    (place / "folder" / "thesis.txt").write_text("years of work")
    (place / "m.tflite").write_bytes(b"\x1c\0\0\0TFL3")
    return place


@pytest.fixture(scope="module")
def outcomes(model: Path, place: Path) -> dict[str, Outcome]:
    lines = [line.format(model=model, folder=place / "folder").split() for line, _ in REFUSED]
    return dict(zip((line for line, _ in REFUSED), run(lines, place), strict=True))


@pytest.mark.parametrize(("line", "message"), REFUSED, ids=[line for line, _ in REFUSED])
def test_refused_before_anything_heavy_is_imported(
    outcomes: dict[str, Outcome], line: str, message: str
) -> None:
    code, said, imported = outcomes[line]
    assert (code, sorted(set(imported) & set(HEAVY))) == (2, [])
    assert message in said


def test_a_wrong_name_is_refused_before_numpy_is_imported(model: Path, tmp_path: Path) -> None:
    """In a process of its own, where no other command has imported it."""
    found = run([line.format(model=model, folder=tmp_path).split() for line in WRONG_NAMES], tmp_path)
    assert [(code, imported) for code, _, imported in found] == [(2, [])] * len(WRONG_NAMES)


def test_what_is_refused_leaves_nothing(outcomes: dict[str, Outcome], place: Path) -> None:
    assert len(outcomes) == len(REFUSED)
    assert sorted(p.relative_to(place).as_posix() for p in place.rglob("*")) == [
        "folder",
        "folder/thesis.txt",
        "m.tflite",
    ]


def test_what_is_heavy_would_be_noticed(model: Path, tmp_path: Path) -> None:
    ((code, _, heavy),) = run([["opt", str(model)]], tmp_path)
    assert code == 0
    assert {"onnx", "secateur.prepare"} <= set(heavy)
