"""A short form of `make fuzz`, and proof that the fuzzer would notice."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest

from secateur.ir.onnx_reader import read_model
from secateur.ir.parser import parse_graph
from secateur.tools.fuzz import __main__ as fuzz
from secateur.tools.fuzz import checks, families, onnx_family, worker
from secateur.tools.fuzz.family import PEER, Family
from secateur.tools.fuzz.mutate import mutate_bytes, mutate_message, mutate_text
from secateur.tools.fuzz.seeds import SEEDS, Seed

CASES = 120
SEED = 50_200
"""Of which the one large case is a light one."""


def test_a_short_run_finds_nothing(tmp_path: Path) -> None:
    findings = fuzz.fuzz(CASES, SEED, tmp_path, jobs=1)
    assert findings.failures == [], fuzz.report(findings, 0)
    assert findings.cases == sum(shard.count for shard in fuzz.shards(CASES, 0))
    assert set(findings.outcomes) == set(fuzz.SHARES) == set(families.families())
    assert findings.outcomes["onnx"]["agreed"] > 0
    assert findings.outcomes["ir"]["run"] + findings.outcomes["ir"]["placed"] > 0


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_seeds_are_sound(seed: Seed) -> None:
    graph = read_model(seed.model(), {"x": (2, 3)} if seed.name == "symbolic" else None)
    checks.verified(graph)
    answers = checks.check_graph(graph, 0)
    assert answers
    assert checks.is_tame(graph, checks.noise(graph, 0))


@pytest.mark.parametrize("name", ["onnx", "ir", "compile", "large", "prune", "streams"])
def test_a_case_depends_on_its_seed_alone(name: str) -> None:
    family = families.families()[name]
    assert family.make(17) == family.make(17)
    assert len({family.make(seed) for seed in range(5)}) > 1


def test_mutations_change_bytes_text_and_messages() -> None:
    data = SEEDS[0].model().SerializeToString()
    text = 'graph @g(%x: tensor<2xf32>) {\n  return %x as "y"\n}\n'
    assert sum(mutate_bytes(Random(seed), data) != data for seed in range(50)) > 45
    assert sum(mutate_text(Random(seed), text) != text for seed in range(50)) > 40
    changed = 0
    for seed in range(50):
        model = onnx.ModelProto.FromString(data)
        mutate_message(Random(seed), model.graph, ["x"])
        changed += model.SerializeToString() != data
    assert changed > 40


class Misbehaving(Family):
    """Does what its seed says: 0 works, 1 is refused, 2 raises, 3 dies, 4 hangs, 5 dies in a peer."""

    name = "misbehaving"
    suffix = ".bin"
    limit_s = 1

    def make(self, seed: int) -> bytes:
        return bytes([seed])

    def check(self, _data: bytes, seed: int, folder: Path, say: Any) -> str:
        assert list(folder.iterdir()) == []
        if seed == 1:
            raise FileNotFoundError(2, "No such file", "x")
        if seed == 2:
            raise TypeError("not a refusal")
        if seed == 5:
            say(PEER)
        if seed in (3, 5):
            os.kill(os.getpid(), signal.SIGSEGV)
        if seed == 4:
            time.sleep(60)
        return "worked"


STARTER = """
import sys
sys.path.insert(0, {folder!r})
from secateur.tools.fuzz import families, worker
from misbehaving import Misbehaving
families.families = worker.families = lambda: {{"misbehaving": Misbehaving()}}
worker.main(sys.argv[3:])
"""


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Workers know the family above; returns the folder for its failures."""
    source = Path(__file__).read_text().split("class Misbehaving")[1].split("\nSTARTER")[0]
    imports = "import os, signal, time\nfrom pathlib import Path\nfrom typing import Any\n"
    imports += "from secateur.tools.fuzz.family import PEER, Family\n"
    (tmp_path / "misbehaving.py").write_text(f"{imports}class Misbehaving{source}")
    start = tmp_path / "python"
    code = STARTER.format(folder=str(tmp_path))
    start.write_text(f"#!{sys.executable}\nimport sys\nexec({code!r})\n")
    start.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(start))
    monkeypatch.setattr(fuzz, "families", lambda: {"misbehaving": Misbehaving()})
    return tmp_path / "failures"


def test_failures_crashes_and_hangs_are_found_and_saved(misbehaving: Path) -> None:
    findings = fuzz.Findings(folder=misbehaving)
    fuzz.run_shard(fuzz.Shard("misbehaving", 0, 7), findings)
    assert dict(findings.outcomes["misbehaving"]) == {
        "worked": 2, "refused": 1, "FAILED": 3, "peer crashed": 1,
    }  # fmt: skip
    reasons = {seed: reason for _, seed, reason in findings.failures}
    assert reasons[2] == "TypeError: not a refusal"
    assert "SIGSEGV" in reasons[3]
    assert reasons[4] == "no answer within 1 s"
    assert (misbehaving / "misbehaving-3.bin").read_bytes() == b"\3"
    replay = "python -m secateur.tools.fuzz --replay misbehaving:3"
    assert replay in (misbehaving / "misbehaving-3.bin.txt").read_text()
    assert replay in fuzz.report(findings, 1.0)


def test_a_worker_that_cannot_start_is_an_error(misbehaving: Path) -> None:
    with pytest.raises(RuntimeError, match="ended between cases"):
        fuzz.run_shard(fuzz.Shard("unheard-of", 0, 1), fuzz.Findings(folder=misbehaving))


def test_shards_cover_every_case_once() -> None:
    work = fuzz.shards(12_000, 5)
    assert sum(shard.count for shard in work) == 12_000
    onnx_seeds = [seed for s in work if s.family == "onnx" for seed in range(s.first, s.first + s.count)]
    assert onnx_seeds == list(range(5, 5 + len(onnx_seeds)))


def test_replay_passes_exceptions_through(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "families", lambda: {"misbehaving": Misbehaving()})
    assert fuzz.replay("misbehaving:0") == "worked"
    with pytest.raises(TypeError, match="not a refusal"):
        fuzz.replay("misbehaving:2")
    with pytest.raises(SystemExit, match="expected FAMILY:SEED"):
        fuzz.replay("misbehaving")


GRAPH = """graph @g(%x: tensor<2x3xf32>) {
  %0 = nn.relu(%x) : tensor<2x3xf32>
  return %0 as "y"
}
"""


def test_a_changed_answer_is_a_defect() -> None:
    graph = parse_graph(GRAPH)
    inputs = checks.noise(graph, 0)
    answers = checks.interpreted(graph, inputs)
    checks.check_passes(graph, inputs, answers)
    wrong = {"y": answers["y"] + np.float32(0.1)}
    with pytest.raises(checks.Defect, match="changes the answer: output 'y' is off by"):
        checks.check_passes(graph, inputs, wrong)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"z": np.zeros(2, np.float32)}, "became"),
        ({"y": np.zeros(3, np.float32)}, r"became float32 \(3,\)"),
        ({"y": np.zeros(2, np.float64)}, "became float64"),
        ({"y": np.array([0, np.nan], np.float32)}, "off by inf"),
        ({"y": np.array([0, 0.01], np.float32)}, "off by 0.01"),
    ],
)
def test_compare_catches(found: dict[str, Any], message: str) -> None:
    with pytest.raises(checks.Defect, match=message):
        checks.compare("it", {"y": np.zeros(2, np.float32)}, found)


def test_rounding_is_no_defect() -> None:
    big = np.array([1000.0, 0.0], np.float32)
    checks.compare("it", {"y": big}, {"y": big + np.float32(0.5)})


def test_wild_values_are_not_tame() -> None:
    graph = parse_graph(GRAPH)
    assert checks.is_tame(graph, {"x": np.zeros((2, 3), np.float32)})
    for wild in (1e6, np.inf, np.nan):
        assert not checks.is_tame(graph, {"x": np.full((2, 3), wild, np.float32)})


def test_a_peers_answers_are_those_of_the_model() -> None:
    data = SEEDS[0].model().SerializeToString()
    graph = read_model(data)
    inputs = checks.noise(graph, 0)
    found = onnx_family.peer_answers(data, inputs)
    assert found is not None
    checks.compare("peer", checks.interpreted(graph, inputs), found)
    assert onnx_family.peer_answers(data[:-9], inputs) is None


def test_a_resealed_manifest_is_read() -> None:
    from secateur.runtime.manifest import ArtifactError
    from secateur.tools.fuzz.artifact_family import resealed, sound

    data = resealed(sound()["so"], json.dumps({"format": 1}).encode())
    with pytest.raises(ArtifactError, match="format 7"):
        read_manifest_of(resealed(sound()["so"], b'{"format": 7}'))
    assert read_manifest_of(data) == {"format": 1}


def read_manifest_of(data: bytes) -> dict[str, Any]:
    from tempfile import TemporaryDirectory

    from secateur.runtime.manifest import read_manifest

    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.so"
        path.write_bytes(data)
        return read_manifest(path)


def test_the_program_says_what_it_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_failure(_cases: int, _seed: int, folder: Path, _jobs: int, _only: str | None) -> fuzz.Findings:
        findings = fuzz.Findings(folder=folder)
        data = families.families()["onnx"].make(9)
        worker.save(families.families()["onnx"], 9, data, "TypeError: odd", folder)
        findings.note("onnx", 9, worker.FAILED)
        return findings

    monkeypatch.setattr(fuzz, "fuzz", one_failure)
    assert fuzz.main(["--cases", "1", "--output", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "onnx:9: TypeError: odd" in out
    assert "--replay onnx:9" in out
