"""Bundles: what is in them, that boards (emulated) run them, and which results are refused."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secateur.costs import bundle
from secateur.costs.bundle import parts_of, write_bundle
from secateur.costs.measure import REPEATS
from secateur.costs.network import board_table
from secateur.costs.results import read_results
from secateur.ir.errors import SecateurError
from tests.sampled import sampled

from .profiled import ELSEWHERE, network, results, written

EMULATORS = {
    "host": "",
    "armv8-a": "qemu-aarch64 -cpu cortex-a53",
    "armv7-a+neon": "qemu-arm -cpu cortex-a7",
}

SAFELY: Any = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""Python 3.11.2, that of Debian 12, has no filters."""


def silent(_what: str, _done: int, _total: int) -> None: ...


@pytest.mark.slow
@pytest.mark.parametrize("target", sampled(EMULATORS, EMULATORS.keys() - {"armv7-a+neon"}))
def test_a_bundle_runs_where_it_is_for_and_its_results_are_a_table(target: str, tmp_path: Path) -> None:
    runner = EMULATORS[target]
    if runner and shutil.which(runner.split()[0]) is None:
        pytest.skip(f"{runner.split()[0]} is not installed: apt-get install qemu-user")
    asked = network(target)
    made = write_bundle(asked, tmp_path / "out.tar", silent)
    assert (made.kernels, made.left_out, made.parts) == (len(asked.kernels), 0, 1)
    with tarfile.open(tmp_path / "out.tar") as tar:
        tar.extractall(tmp_path / "board", **SAFELY)
    done = subprocess.run(
        ["sh", "./run.sh"],
        cwd=tmp_path / "board",
        env={"PATH": os.environ["PATH"], "RUN": runner},
        capture_output=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert f"round {REPEATS} of {REPEATS}" in done.stderr.decode()
    table = board_table(asked, written(tmp_path / "results.json", done.stdout), "a board of ours")
    assert (table.target, table.measured) == (target, "board: a board of ours")
    assert {e.symbol for e in table.entries} == {c.symbol for c in asked.kernels}
    assert all(0 < e.timing.seconds < 1 and e.timing.repeats == REPEATS for e in table.entries)
    relayouts, convs = (
        [e.timing.seconds for e in table.entries if e.label.startswith(kind)] for kind in ("relayout", "conv")
    )
    assert min(relayouts) < max(convs)


@pytest.mark.slow
def test_a_bundle_is_the_same_each_time_and_holds_no_weights(tmp_path: Path) -> None:
    asked = network("host")
    for name in ("a.tar", "b.tar"):
        write_bundle(asked, tmp_path / name, silent)
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()
    with tarfile.open(tmp_path / "a.tar") as tar:
        modes = {member.name: member.mode for member in tar}
        readme = tar.extractfile("README.txt")
        assert readme is not None
        assert "about 9 MiB of free memory" in readme.read().decode()
    assert modes == {"README.txt": 0o644, "header.json": 0o644, "run.sh": 0o755, "part-001": 0o755}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar", "b.tar"]


def test_kernels_are_cut_into_parts_that_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = network()
    (whole,) = parts_of(asked.kernels, asked.target, silent)
    monkeypatch.setattr(bundle, "PART_BYTES", whole.weight_bytes // 3)
    parts = parts_of(asked.kernels, asked.target, silent)
    assert len(parts) >= 3
    assert [c for part in parts for c in part.candidates] == list(asked.kernels)
    assert all(part.weight_bytes <= whole.weight_bytes // 3 for part in parts)


def test_kernels_too_large_for_a_board_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = network()
    alone = [parts_of([c], asked.target, silent)[0] for c in asked.kernels]
    needs = [part.weight_bytes + part.arena_bytes for part in alone]
    fitting = [need for need in needs if need < max(needs)]
    monkeypatch.setattr(bundle, "MOST_BYTES", max(fitting))
    kept = [c for part in parts_of(asked.kernels, asked.target, silent) for c in part.candidates]
    assert len(kept) == len(fitting)


def test_a_bundle_of_nothing_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MOST_BYTES", 0)
    with pytest.raises(SecateurError, match="has no kernels to time on rpi4"):
        write_bundle(network(), tmp_path / "out.tar", silent)
    assert list(tmp_path.iterdir()) == []


# Results -------------------------------------------------------------------------------------------


def test_results_are_medians_by_symbol(tmp_path: Path) -> None:
    asked = network()

    def change(lines: list[Any]) -> None:
        for number, run in enumerate(lines[1:-1]):
            run["operators"][1]["ns"] = 1000 * (number + 1)

    found = read_results(written(tmp_path / "r", results(asked, change)), asked)
    assert found.keys() == {c.symbol for c in asked.kernels}
    assert found[asked.kernels[0].symbol].seconds == pytest.approx(5e-6)
    assert found[asked.kernels[0].symbol].quartiles == pytest.approx((3e-6, 7e-6))


def _operator(number: int, **fields: object) -> Callable[[list[Any]], object]:
    return lambda lines: lines[3]["operators"][number].update(fields)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[0].update(target="rpi3"), "is of target rpi3, not of rpi4"),
        (lambda lines: lines[0].update(processor="z80"), "is of processor z80"),
        (lambda lines: lines[0].update(compiler="older"), "kernels of another version of Secateur"),
        (lambda lines: lines[0].update(format="secateur bundle 0"), "printed by another version"),
        (lambda lines: lines[0].update(kernels="others"), "other kernels than those of small: another model"),
        (lambda lines: lines.pop(), "is cut short"),
        (lambda lines: lines.pop(2), f"is cut short: {REPEATS - 1} of {REPEATS} runs"),
        (lambda lines: lines.__delitem__(slice(3, None)), "is cut short"),
        (lambda lines: lines[4]["operators"].pop(), f"was not run {REPEATS} times"),
        (_operator(1, ns=-3), "-3 is no time in nanoseconds"),
        (_operator(1, ns=1.5), "1.5 is no time"),
        (_operator(1, ns="12"), "12 is no time"),
        (_operator(1, label="direct_0"), "kernels that were not asked for: direct_0"),
        (lambda lines: lines[3].pop("operators"), "or is damaged"),
        (lambda lines: lines.insert(0, 7), "or is damaged"),
    ],
)
def test_other_and_damaged_results_are_refused(
    tmp_path: Path, change: Callable[[list[Any]], object], message: str
) -> None:
    asked = network()
    path = written(tmp_path / "results.json", results(asked, change))
    with pytest.raises(SecateurError, match=f"results.json: .*{message}"):
        read_results(path, asked)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.99])
def test_results_cut_anywhere_are_refused(tmp_path: Path, share: float) -> None:
    asked = network()
    data = results(asked)
    path = written(tmp_path / "results.json", data[: int(share * len(data))])
    with pytest.raises(SecateurError, match=r"results\.json: is"):
        read_results(path, asked)


def test_results_of_another_shape_are_refused(tmp_path: Path) -> None:
    """Kernels of a network that only looks the same."""
    path = written(tmp_path / "r", results(network("rpi3")))
    with pytest.raises(SecateurError, match="is of target rpi3, not of rpi4"):
        read_results(path, network(ELSEWHERE))


def test_what_a_board_prints_is_json_lines() -> None:
    rows = [json.loads(line) for line in results(network()).splitlines()]
    assert len(rows) > 2
    assert all(isinstance(row, dict) and row for row in rows)
