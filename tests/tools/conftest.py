"""Running the command line inside the test process, on models small enough to compile in a moment."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx
import pytest

from secateur.tools.cli.main import app
from secateur.tools.fuzz.seeds import SEEDS


@dataclass(frozen=True)
class Result:
    """What a command left: exit code, stdout, stderr."""

    code: int
    out: str
    err: str

    @property
    def told(self) -> str:
        """stderr without the lines that tell of progress."""
        return "".join(line for line in self.err.splitlines(keepends=True) if not line.startswith("["))

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Cli(Protocol):
    """Runs `secateur` with these words."""

    def __call__(self, *words: object) -> Result: ...


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*words: object) -> Result:
        with pytest.raises(SystemExit) as left:
            app([str(word) for word in words], prog_name="secateur")
        captured = capsys.readouterr()
        return Result(int(left.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small residual network as an ONNX file: `x` 1x3x8x8 -> `y` 1x5."""
    path = tmp_path_factory.mktemp("model") / "residual.onnx"
    onnx.save(SEEDS[0].model(), path)
    return path


@pytest.fixture(scope="session")
def artifact(model: Path) -> Path:
    """That network, compiled for this machine."""
    import secateur

    return secateur.compile(model, model.with_name("residual.so")).path
