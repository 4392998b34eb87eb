"""Cost tables at other counts of channels: what is asked, what measured kernels say, and bundles."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from secateur.codegen import build
from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.cache import load_kernel, store_kernel
from secateur.codegen.program import Module
from secateur.codegen.targets.find import find
from secateur.codegen.targets.host import host
from secateur.costs import measure, network
from secateur.costs.calibrate import Calibration
from secateur.costs.candidates import Asked, Candidate, Network, of_choice
from secateur.costs.counts import in_order
from secateur.costs.kin import Kin, kin_of
from secateur.costs.measured import TableCosts
from secateur.costs.network import analytic_table, at_counts, measured_at_counts, profiled
from secateur.costs.samples import NEAREST, Samples, Timing
from secateur.costs.table import Table, read_table, text_of
from secateur.ir.errors import SecateurError
from secateur.ir.files import write_graph
from secateur.ir.graph import Graph, Operator
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.prune.options import Recipe, Space
from secateur.passes.prune.search import Material, Search
from secateur.passes.prune.sizes import at_counts as sized
from secateur.tools.bench import turns
from secateur.tools.bench.turns import Turn

from ..passes.prune.nets import residual
from ..sampled import sampled_rows
from .conftest import Cli
from .profiled import ELSEWHERE, results, written

WIDTH = 32
"""Channels of networks that are measured: more than a block of any processor, so that some may go."""


def silent(_what: str, _done: int, _total: int) -> None: ...


def kin(extents: Sequence[int], estimate: float, variant: str = "v") -> Kin:
    return Kin("conv direct", variant, tuple(extents), estimate)


def convolution(graph: Graph) -> Operator:
    """The last one with equally many channels and filters."""
    return [op for op in graph.operators if op.name == "nn.conv"][-1]


def candidates(op: Operator, target: str = ELSEWHERE) -> list[Candidate]:
    row = find(target)
    found = (of_choice(op, choice, row) for choice in AnalyticCosts(row).choices(op))
    return [kernel for kernel in found if kernel]


# Kernels of a kind ---------------------------------------------------------------------------------


def test_counts_alone_make_no_other_kind() -> None:
    op = convolution(residual(0))
    whole = {kin_of(k).kind: kin_of(k) for k in candidates(op)}
    fewer = {kin_of(k).kind: kin_of(k) for k in candidates(sized(op, 8, 12))}
    assert whole.keys() == fewer.keys()
    assert all(whole[kind].variant == fewer[kind].variant for kind in whole)
    assert {k.extents[1] for k in fewer.values()} == {8}
    assert len({k.extents for k in fewer.values()}) == 1


def test_a_window_makes_another_kind_and_steps_another_variant() -> None:
    op = convolution(residual(0))
    other = Operator(op.definition, op.operands, {**op.attributes, "strides": (2, 2)},
                     op.definition.result_types([v.type for v in op.operands],
                                                {**op.attributes, "strides": (2, 2)}))  # fmt: skip
    one, two = (next(k for k in candidates(o) if "direct" in k.label) for o in (op, other))
    assert kin_of(one).kind == kin_of(two).kind
    assert kin_of(one).variant != kin_of(two).variant
    assert " 3x3 " in kin_of(one).kind


# Times between -------------------------------------------------------------------------------------


def test_a_time_between_is_the_estimate_stretched_as_its_neighbours_are() -> None:
    found = Calibration([(kin((8, 8), 1.0), 3.0), (kin((64, 64), 10.0), 30.0)])
    assert found.seconds(kin((16, 16), 2.5)) == pytest.approx(7.5)
    near = Calibration([(kin((8, 8), 1.0), 2.0), (kin((64, 64), 10.0), 40.0)])
    assert 2.0 < (near.seconds(kin((16, 16), 1.0)) or 0) < 3.0
    assert 3.0 < (near.seconds(kin((56, 56), 9.0)) or 0) / 9.0 < 4.0


def test_another_variant_tells_where_there_is_none_and_another_kind_nothing() -> None:
    found = Calibration([(kin((8, 8), 1.0, "other"), 3.0)])
    assert found.seconds(kin((16, 16), 2.0)) == pytest.approx(6.0)
    assert found.seconds(Kin("conv winograd2", "v", (16, 16), 2.0)) is None


@pytest.mark.parametrize("seed", range(20))
def test_no_count_that_was_not_measured_seems_faster_than_a_smaller_one(seed: int) -> None:
    """Whatever the estimates and the noise say."""
    random = np.random.default_rng(seed)
    measured = {(a, b): random.uniform(1, 9) for a in (8, 16, 32) for b in (8, 24, 32)}
    found = Calibration((kin(at, random.uniform(0.1, 9)), time) for at, time in measured.items())
    for a, b in random.integers(8, 48, (30, 2)).tolist():
        time = found.seconds(kin((a, b), random.uniform(0.01, 9)))
        assert time is not None
        for (c, d), _ in measured.items():
            if c <= a and d <= b:
                larger = [t for (e, f), t in measured.items() if e >= c and f >= d]
                assert time >= min(larger)


def _stretched(table: Table, factor: float) -> Table:
    rows = (replace(e, timing=Timing(e.timing.seconds * factor, (0.0, 1.0), 9)) for e in table.entries)
    return replace(table, entries=tuple(rows))


def test_a_table_tells_of_counts_that_it_does_not_have() -> None:
    """Where all kernels take three times their estimates, so do those at other counts."""
    graph, row = residual(0), find(ELSEWHERE)
    fused = profiled(graph, row)
    costs = TableCosts(_stretched(analytic_table(fused), 3.0), row)
    op = sized(convolution(graph), 8, 8)
    found = [c.seconds for c in costs.choices(op)]
    assert found == pytest.approx([3 * c.seconds for c in AnalyticCosts(row).choices(op)], rel=1e-6)
    assert costs.between == 1
    assert costs.note is None


def test_tables_of_earlier_versions_are_read(tmp_path: Path) -> None:
    table = analytic_table(profiled(residual(0), find(ELSEWHERE)))
    old = replace(table, entries=tuple(replace(e, kin=None) for e in table.entries))
    assert '"kind"' not in text_of(old)
    (tmp_path / "t.json").write_text(text_of(old))
    assert text_of(read_table(tmp_path / "t.json")) == text_of(old)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"kind": 3}, "must be a text"),
        ({"extents": [-1]}, "whole numbers"),
        ({"extents": 8}, "damaged"),
        ({"estimate": "1 s"}, "must be a number"),
    ],
)
def test_damaged_kin_is_refused(tmp_path: Path, words: dict[str, object], message: str) -> None:
    data = json.loads(text_of(analytic_table(profiled(residual(0), find(ELSEWHERE)))))
    data["kernels"][0].update(words)
    (tmp_path / "t.json").write_text(json.dumps(data))
    with pytest.raises(SecateurError, match=message):
        read_table(tmp_path / "t.json")


# What is asked -------------------------------------------------------------------------------------


def _network(target: str = ELSEWHERE, most: int | None = None) -> tuple[Network, Network]:
    graph = residual(0)
    own = profiled(graph, find(target))
    return own, at_counts(own, graph, "standard", most)


def _symbols(kernels: Sequence[Candidate]) -> list[str]:
    return [kernel.symbol for kernel in kernels]


def test_counts_that_pruning_weighs_are_asked_for_beyond_the_networks_own() -> None:
    own, found = _network()
    assert _symbols(found.kernels[: len(own.kernels)]) == _symbols(own.kernels)
    others = found.kernels[len(own.kernels) :]
    assert len({k.symbol for k in found.kernels}) == len(found.kernels)
    assert any(k.label.startswith("conv 16x6x6 to 8x6x6 3x3 ") for k in others)
    assert any(k.label.startswith("conv 8x6x6 3x3 ") for k in others)


def test_the_optimizer_then_estimates_nothing() -> None:
    graph, row = residual(0), find(ELSEWHERE)
    _, found = _network()
    costs = TableCosts(analytic_table(found), row)
    asked = Asked(costs, row)
    canonical = Canonicalize(share=False).run(graph.clone())
    _ = Search(canonical, Recipe(loss=1.0), asked, Material()).optimizer.problem.times
    assert len(asked.operators) > 10
    assert costs.between == 0
    assert costs.note is None or "operators" not in costs.note


def test_the_first_kernels_tell_most() -> None:
    own, found = _network()
    others = found.kernels[len(own.kernels) :]
    assert _symbols(_network(most=3)[1].kernels) == _symbols((*own.kernels, *others[:3]))
    alike = [replace(k, estimate=1.0) for k in others if "direct" in k.label]
    places = [kin_of(k) for k in in_order(alike, own.kernels)]
    one = [p.extents for p in places if (p.kind, p.variant) == (places[0].kind, places[0].variant)]
    assert {one[0][1], one[0][-3]} != {16}


def test_auto_asks_for_what_either_space_would() -> None:
    graph = residual(0)
    own = profiled(graph, find(ELSEWHERE))
    spaces: tuple[Space, ...] = ("standard", "aggressive", "auto")
    standard, aggressive, auto = (set(_symbols(at_counts(own, graph, s).kernels)) for s in spaces)
    assert auto == standard | aggressive
    assert auto > standard


# Measuring -----------------------------------------------------------------------------------------


@pytest.fixture
def own_samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "costs"
    monkeypatch.setattr(Samples, "_path", lambda self, symbol: folder / f"{symbol}-{self.distance}.json")


@pytest.mark.usefixtures("own_samples")
def test_a_new_kernel_is_timed_together_with_those_that_were() -> None:
    own = profiled(residual(0, WIDTH, blocks=1), host())
    first = measure.together(own.kernels[:1], host(), NEAREST)
    again = measure.together(own.kernels[:1], host(), NEAREST)
    assert again == first
    both = measure.together(own.kernels[:2], host(), NEAREST)
    assert both[own.kernels[0].symbol] != first[own.kernels[0].symbol]
    assert {t.repeats for t in both.values()} == {measure.REPEATS}


@pytest.mark.usefixtures("own_samples")
def test_no_more_is_built_than_time_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that goes on by a second whenever it is read; of the cache, the network's own kernels."""
    graph = residual(0, WIDTH, blocks=1)
    own = profiled(graph, host())
    symbols, modules = {name for k in own.kernels for name in k.kernels}, dict[str, Module]()
    seconds, cached = itertools.count(), load_kernel
    for module in (measure, network):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(seconds))))
    for module in (measure, build):
        monkeypatch.setattr(module, "load_kernel", lambda s: cached(s) if s in symbols else modules.get(s))

    def store(built: Module) -> None:
        modules[built.symbol] = built
        store_kernel(built)

    monkeypatch.setattr(build, "store_kernel", store)
    none = measured_at_counts(own, graph, "standard", 0.0, silent)
    assert {k.symbol for k in own.kernels} == {e.symbol for e in none.entries}
    symbols |= modules.keys()  # what measuring itself takes
    more = measured_at_counts(own, graph, "standard", 6.0, silent)
    assert 0 < len(modules.keys() - symbols) < 6
    assert len(more.entries) > len(own.kernels)
    assert all(e.timing.repeats == measure.REPEATS and e.kin for e in more.entries)


@pytest.mark.slow
@pytest.mark.usefixtures("own_samples")
@pytest.mark.parametrize(
    ("after", "code"), sampled_rows([(0.8, 0), (1.0, 0), (1.1, 1)], lambda after, _: after >= 1)
)
def test_pruning_measures_first_and_is_held_against_the_clock(
    after: float, code: int, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that is slower by the clock is not written, whatever the table says."""
    clocks = [Turn(t, (t, t), t, t, 1) for t in (1.0, after)]
    monkeypatch.setattr(turns, "turns", lambda paths, *_: clocks[: len(paths)])
    path, table, pruned = tmp_path / "net.sir", tmp_path / "t.json", tmp_path / "pruned.onnx"
    graph = residual(0, WIDTH, blocks=1)
    write_graph(graph, path)
    words = ("prune", path, "--latency", "80%", "--space", "standard", "--tune", "--budget", "0.01s")
    made = cli(*words, "--save-costs", table, "-o", pruned, "--json")
    assert made.code == code
    assert {k.symbol for k in profiled(graph, host()).kernels} <= {
        e.symbol for e in read_table(table).entries
    }
    assert pruned.exists() == (code == 0)
    if code:
        assert "the pruned network takes 1.10 s by the clock, the whole one 1.00 s" in made.err
    else:
        assert made.json["clock"] == {"before": 1.0, "after": after}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "2min"), "--budget is about times measured on this machine; give --tune too"),
        (("--save-costs", "t.json"), "--save-costs is about times measured on this machine"),
        (("--tune", "--budget", "soon"), "--budget soon: expected a time"),
        (("--tune", "--target", ELSEWHERE), "is another: measure there by `secateur profile --prune"),
        (("--tune", "--costs", "t.json"), "not both"),
    ],
)
def test_pruning_refuses_options_that_do_not_go_together(
    cli: Cli, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    path = tmp_path / "net.sir"
    write_graph(residual(0), path)
    result = cli("prune", path, "--latency", "50%", *words)
    assert result.code == 2
    assert message in result.err


def test_a_bundle_times_counts_too_and_its_results_are_read(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "net.sir"
    write_graph(residual(0), path)
    own, found = _network(most=5)
    words = ("profile", path, "--target", ELSEWHERE, "--prune", "--most", 5)
    table, printed = (
        tmp_path / "t.json",
        written(tmp_path / "r.json", results(found)),
    )
    made = cli(*words, "--results", printed, "-o", table, "--json").json
    assert made["kernels"] == len(own.kernels) + 5
    pruned = cli("prune", path, "--target", ELSEWHERE, "--costs", table, "--latency", "60%", "--dry-run")
    assert pruned.code == 0
    assert cli(*words[:-2], "--results", printed, "-o", table).code == 2  # of other kernels


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "2min"), "--budget is about counts of channels; give --prune too"),
        (("--prune", "--budget", "soon"), "--budget soon: expected a time"),
        (("--prune", "--most", 3), "--budget limits what is measured here"),
        (("--prune", "--analytic", "--budget", "1s"), "--most limits a bundle's kernels"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    cli: Cli, tmp_path: Path, words: tuple[object, ...], message: str
) -> None:
    path = tmp_path / "net.sir"
    write_graph(residual(0), path)
    result = cli("profile", path, *words)
    assert result.code == 2
    assert message in result.err
