"""The command line as a whole: help, errors, exit codes."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from secateur.tools.cli import commands
from secateur.tools.cli.main import ROWS, describe

from ..conftest import Cli

HEAVY = ("tvm", "onnx", "numpy", "rich", "llvmlite", "secateur.codegen.targets.host")


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, timeout=120)


SECATEUR = "from secateur.tools.cli.main import main; main()"


def test_help_names_every_command(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    listed = result.out.split("Commands:\n")[1].split("\n\n")[0].splitlines()
    assert [line.split()[0] for line in listed] == [row.name for row in ROWS]


def test_each_command_is_one_file_of_its_name() -> None:
    files = {path.stem for path in Path(commands.__file__).parent.glob("*.py")} - {"__init__"}
    assert files == {row.name for row in ROWS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_commands_line_in_the_list_is_the_first_of_its_own_help(cli: Cli, row: object) -> None:
    result = cli(row.name, "--help")  # type: ignore[attr-defined]
    assert result.code == 0
    assert row.help in " ".join(result.out.split())  # type: ignore[attr-defined]


HELP = """
import sys
from secateur.tools.cli.main import app
try:
    app(["--help"])
except SystemExit:
    print("imported", *sys.modules)
"""
BARE = "import typer.main, difflib, tempfile"  # what no command line of this kind can do without
OURS = {
    f"secateur{name}"
    for name in (
        "", ".errors", ".ir", ".ir.errors", ".ir.support", ".ir.support.options",
        ".ir.support.progress", ".ir.support.unasked", ".ir.support.unfinished", ".ir.support.units",
        ".ir.support.words",
        ".options", ".passes", ".passes.half", ".passes.half.options",
        ".passes.prune", ".passes.prune.options", ".passes.quantize",
        ".passes.quantize.calibration", ".passes.quantize.calibration.preparation",
        ".passes.quantize.options", ".tools", ".tools.cli",
        ".tools.cli.common", ".tools.cli.groups", ".tools.cli.interrupts", ".tools.cli.main",
        ".tools.cli.quantities", ".version",
    )
}  # fmt: skip


def imported(code: str) -> set[str]:
    return set(python(code).stdout.splitlines()[-1].split()[1:])


def test_help_imports_what_it_prints_with_and_no_more() -> None:
    """Time follows from this: a few small files of ours, beside typer and what Python brings."""
    loaded = imported(HELP)
    assert {name for name in loaded if name.startswith("secateur")} == OURS
    assert loaded.isdisjoint(HEAVY)
    assert len(loaded - OURS - imported(f"{BARE}, sys; print('imported', *sys.modules)")) < 10


def seconds(code: str, *words: str) -> float:
    """Processor time of a process: on a busy machine the clock tells of the others."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert python(code, *words).returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_under_300_ms() -> None:
    """The best of five; where even a bare import of typer is slow, less than twice what that takes."""
    times = [(seconds(SECATEUR, "--help"), seconds(BARE)) for _ in range(5)]
    best, bare = map(min, zip(*times, strict=True))
    assert best < max(0.3, 2 * bare)


def test_version(cli: Cli) -> None:
    from secateur import __version__

    assert cli("--version").out == cli("-V").out == f"secateur {__version__}\n"


def test_help_is_a_command_too(cli: Cli) -> None:
    assert cli("help").out == cli("--help").out
    assert cli("help", "run").out == cli("run", "--help").out
    refused = cli("help", "rum")
    assert (refused.code, refused.out) == (2, "")
    assert "no command 'rum'; did you mean 'run'?" in refused.err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("secateur com", ["compile", "compare"]),
        ("secateur compile --pip", ["--pipeline"]),
        ("secateur compile --target rpi", ["rpi3", "rpi4", "rpi5", "rpi2"]),
        ("secateur compile --target ho", ["host"]),
    ],
)
def test_a_shell_completes_commands_options_and_targets(words: str, wanted: list[str]) -> None:
    asked = {"_SECATEUR_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    done = subprocess.run(
        [sys.executable, "-c", SECATEUR], env=os.environ | asked, capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == wanted, done.stderr


def test_the_script_of_a_shell_is_shown() -> None:
    """Typer asks the processes above for the shell, which a test has not always."""
    named = {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"}
    words = [sys.executable, "-c", SECATEUR, "--show-completion", "bash"]
    shown = subprocess.run(words, env=os.environ | named, capture_output=True, text=True, timeout=120)
    assert "_SECATEUR_COMPLETE=complete_bash" in shown.stdout, shown.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compil"], "did you mean 'compile'?"),
        (["bnech"], "did you mean 'bench'?"),
        (["xyzzy"], "no command 'xyzzy'"),
        (["compile"], "model"),
        (["compile", "--taget", "host", "m.onnx"], "--target"),
        (["run", "m.so", "--threads", "0"], "threads"),
        (["bench", "m.so", "--iterations", "0"], "iterations"),
        (["compare", "m.onnx", "--against", "tensorflow"], "against"),
    ],
)
def test_bad_usage_is_refused(cli: Cli, words: list[str], message: str) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err


@pytest.mark.parametrize("command", ["compile", "run", "inspect", "opt", "bench", "compare"])
def test_a_missing_file_gives_one_message(cli: Cli, command: str) -> None:
    result = cli(command, "/nowhere/model.onnx")
    assert (result.code, result.out) == (2, "")
    assert result.err == "error: /nowhere/model.onnx: No such file or directory\n"


@pytest.mark.parametrize("command", ["compile", "inspect", "opt", "compare"])
def test_a_file_that_is_no_model_is_refused(cli: Cli, tmp_path: Path, command: str) -> None:
    path = tmp_path / "noise.onnx"
    path.write_bytes(bytes(range(256)))
    result = cli(command, path)
    assert result.code == 2
    assert "noise.onnx: not an ONNX model" in result.err


def test_passes_may_end_in_an_onnx_model(cli: Cli, model: Path, tmp_path: Path) -> None:
    path = tmp_path / "fused.onnx"
    assert cli("opt", model, "--pipeline", "canonicalize,fuse", "-o", path).code == 0
    onnx.checker.check_model(onnx.load(path), full_check=True)


def test_a_graph_that_onnx_cannot_say_leaves_no_file(cli: Cli, model: Path, tmp_path: Path) -> None:
    result = cli("opt", model, "--pipeline", "canonicalize,fuse,select", "-o", tmp_path / "chosen.onnx")
    assert result.code == 2
    assert "has no ONNX form; write the graph before primitives are chosen" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["run", "bench"])
def test_a_model_is_compiled_for_a_run(
    cli: Cli, model: Path, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--input", "random:3", "--json")
    result = cli(command, model, *words)
    assert result.code == 0
    assert result.told == (
        f"note: {model} is a model, compiled for this run alone; "
        f"`secateur compile {model}` makes an artifact that stays\n"
    )
    assert list(tmp_path.iterdir()) == []
    if command == "run":
        assert result.json["outputs"] == cli(command, artifact, *words).json["outputs"]


def test_a_model_whose_inputs_are_wrong_is_not_compiled(cli: Cli, model: Path) -> None:
    result = cli("run", model)
    assert result.code == 2
    assert "no array for input 'x' float32[1, 3, 8, 8]; give --input x=FILE.npy" in result.err
    assert "kernels" not in result.err


def test_a_run_settles_what_a_model_leaves_open(cli: Cli, tmp_path: Path) -> None:
    result = cli("run", _free_batch(tmp_path), "--batch", 5, "--input", "random:0", "--json")
    assert (result.code, result.json["outputs"][0]["shape"]) == (0, [5, 3])


@pytest.mark.parametrize("command", ["run", "bench"])
def test_an_artifact_leaves_nothing_open(cli: Cli, artifact: Path, command: str) -> None:
    result = cli(command, artifact, "--batch", 5)
    assert result.code == 2
    assert "is an artifact, whose shapes and constants are settled already" in result.err


@pytest.mark.parametrize("command", ["compile", "opt", "compare"])
def test_an_artifact_is_no_model(cli: Cli, artifact: Path, command: str) -> None:
    result = cli(command, artifact)
    assert result.code == 2
    assert "is a compiled artifact; this command wants the model" in result.err


def test_debug_shows_the_traceback() -> None:
    done = python(SECATEUR, "compile", __file__, "--target", "nonsense", "--debug")
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "SecateurError" in done.stderr


def test_a_defect_is_called_one_and_shows_no_traceback() -> None:
    code = f"from secateur.codegen.targets import host; host.host = lambda: 1 / 0; {SECATEUR}"
    done = python(code, "targets")
    assert done.returncode == 70
    assert "Traceback" not in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "defect of Secateur; --debug shows the traceback" in done.stderr


def test_a_reader_that_leaves_early_is_no_error() -> None:
    """As in `secateur targets | head -1`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as closed:
        words = [sys.executable, "-c", SECATEUR, "targets"]
        done = subprocess.run(words, stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr


def test_errors_of_the_operating_system_name_the_file() -> None:
    assert describe(OSError(28, "No space left on device", "/x")) == "/x: No space left on device"
    assert describe(OSError("odd")) == "odd"


def _free_batch(folder: Path) -> Path:
    path = folder / "free.onnx"
    text = '<ir_version: 8, opset_import: ["": 17]> main (float[N,3] x) => (y) { y = Relu (x) }'
    onnx.save(onnx.parser.parse_model(text), path)
    return path


def test_a_free_batch_is_noted(tmp_path: Path) -> None:
    done = python(SECATEUR, "opt", str(_free_batch(tmp_path)))
    assert done.returncode == 0
    assert "tensor<1x3xf32>" in done.stdout
    assert done.stderr == "note: input 'x' (Nx3): the batch is free and becomes 1; --batch N sets it\n"


@pytest.mark.parametrize("command", ["opt", "inspect"])
def test_the_batch_is_an_option(cli: Cli, tmp_path: Path, command: str) -> None:
    result = cli(command, _free_batch(tmp_path), "--batch", 5)
    assert (result.code, result.told) == (0, "")
    assert "5x3" in result.out


def test_a_batch_of_ir_text_is_refused(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "free.sir"
    assert cli("opt", _free_batch(tmp_path), "--batch", 5, "-o", text).code == 0
    result = cli("opt", text, "--batch", 5)
    assert result.code == 2
    assert "--batch settles shapes of an ONNX model; the shapes of IR text are settled already" in result.err


def _rated(folder: Path) -> Path:
    path = folder / "rated.onnx"
    body = "k = Cast<to=1> (sr) y = Mul (x, k)"
    text = f'<ir_version: 8, opset_import: ["": 17]> main (float[1,3] x, int64 sr) => (y) {{ {body} }}'
    onnx.save(onnx.parser.parse_model(text), path)
    return path


@pytest.mark.parametrize("command", ["opt", "inspect", "compare"])
def test_an_input_can_be_a_constant(cli: Cli, tmp_path: Path, command: str) -> None:
    result = cli(command, _rated(tmp_path), "--constant", "sr=16000")
    assert (result.code, result.told) == (0, "")
    assert "sr" not in cli("opt", _rated(tmp_path), "--constant", "sr=16000").out.split("{")[0]


@pytest.mark.parametrize(
    ("constant", "said"),
    [
        ("sr=0.5", "input 'sr' is i64; 0.5 is no value of it"),
        ("sr=1,2", "input 'sr' has shape scalar; 2 values do not fit"),
        ("rate=1", "the model has no input rate; inputs: x, sr"),
    ],
)
def test_a_constant_that_does_not_fit_is_one_message(
    cli: Cli, tmp_path: Path, constant: str, said: str
) -> None:
    result = cli("compile", _rated(tmp_path), "-o", tmp_path / "a.so", "--constant", constant)
    assert result.code == 2
    assert said in result.err


def test_constants_of_ir_text_are_refused(cli: Cli, tmp_path: Path) -> None:
    text = tmp_path / "rated.sir"
    assert cli("opt", _rated(tmp_path), "-o", text).code == 0
    result = cli("opt", text, "--constant", "sr=1")
    assert result.code == 2
    assert "--constant is for inputs of an ONNX model" in result.err
