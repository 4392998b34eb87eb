"""What was counted, by operator and beside what peers and bars say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import secateur
from secateur.ir.graph import Graph
from secateur.ir.registry import create
from secateur.ir.types import TensorType
from secateur.tools.bench.arm.builds import CORES, Counted, Sample, run, split
from secateur.tools.bench.arm.counting import CLASSES, CountError, Counts
from secateur.tools.bench.arm.peers import BARS, COUNTS, VERSIONS, bar_of, peers_of
from secateur.tools.bench.arm.report import Row, as_data, classes_table, counts_table, layers_table
from tests.tools.bench.arm.test_counting import needs_tools

OUTPUT = np.zeros((1, 10), np.float32)
OPERATORS = [
    {"operator": "prim.conv", "label": "/conv/Conv+/relu/Relu", "macs": 2_000_000},
    {"operator": "prim.gemm", "label": "fc", "macs": 0},
]


def counts(fma: int, integer: int = 0) -> Counts:
    return Counts((fma, *[0] * (len(CLASSES) - 2), integer))


def marks(*millions: int) -> list[Counts]:
    return [counts(n * 1_000_000) for n in millions]


def counted() -> Counted:
    """Of 7 million instructions, 6 in the first operator and 1 in the second."""
    return split(marks(0, 1, 1, 9, 16, 17, 23, 24, 25, 26), OPERATORS, {"fc": "dense"}, OUTPUT)


def row(network: str = "resnet20", precision: str = "fp32") -> Row:
    return Row(network, "a72", precision, 40_000_000, counted(), None)


def test_an_inference_lies_between_the_fourth_request_and_the_fifth() -> None:
    assert counted().counts == counts(7_000_000)
    assert [(x.label, x.primitive, x.counts.millions) for x in counted().layers] == [
        ("/conv/Conv+/relu/Relu", "", 6),
        ("fc", "dense", 1),
    ]


def test_another_number_of_requests_is_an_error() -> None:
    with pytest.raises(CountError, match="8 requests for the time where 9"):
        split(marks(0, 1, 1, 9, 16, 17, 23, 24, 25), OPERATORS, {}, OUTPUT)


@needs_tools
def test_an_artifact_asks_as_often_as_is_expected(tmp_path: Path) -> None:
    graph = Graph("net")
    x = graph.add_input(TensorType((1, 4, 8, 8)), "x")
    graph.set_outputs([graph.append(create("nn.relu", [x])).result], ["y"])
    artifact = secateur.compile(graph, tmp_path / "net", "rpi4", kind="dir")
    image = tmp_path / "x.npy"
    np.save(image, np.full((1, 4, 8, 8), -1, np.float32))
    found = run(artifact, CORES["a72"], Sample(tmp_path, image))
    assert np.array_equal(found.output, np.zeros((1, 4, 8, 8)))
    (layer,) = found.layers
    assert 4 * 8 * 8 / 4 < layer.counts.total < found.counts.total + 1 < 4 * 8 * 8 * 4


def test_a_row_above_its_bar_is_marked() -> None:
    line = next(x for x in counts_table([row()]).splitlines() if x.startswith("resnet20"))
    assert line.split() == [
        "resnet20",
        "a72",
        "fp32",
        "7.0*",
        "6.5",
        "20.2",
        "8.5",
        "8.0",
        "15.4",
        "0.88",
        "-",
    ]
    assert "7.0*" not in counts_table([row("squeezenet1.1")])


def test_a_network_that_no_peer_ran_has_a_row() -> None:
    line = next(x for x in counts_table([row("alexnet")]).splitlines() if x.startswith("alexnet"))
    assert line.split() == ["alexnet", "a72", "fp32", "7.0", *["-"] * 7]


def test_classes_stand_above_those_of_the_best_peer() -> None:
    ours, best = classes_table([row()]).splitlines()[2:4]
    assert ours.split()[3:6] == ["ours", "175", "175.0"]
    assert best.split()[3:6] == ["mnn", "197", "79.7"]


def test_layers_come_by_what_they_execute() -> None:
    lines = layers_table(row()).splitlines()
    assert lines[3].split()[:6] == ["prim.conv", "/conv/Conv", "+1", "6.00", "85.7", "3.000"]
    assert lines[4].split()[:5] == ["dense", "fc", "1.00", "14.3", "-"]
    assert "1 others" in layers_table(row(), least=0.2)


def test_json_holds_all_classes() -> None:
    data = as_data(row())
    assert data["instructions"]["fma32"] == 7_000_000
    assert sum(op["instructions"]["fma32"] for op in data["operators"]) == 7_000_000


def test_peers_and_bars_are_those_of_known_engines_and_networks() -> None:
    for peers in COUNTS:
        assert peers.millions.keys() <= VERSIONS.keys()
        assert len(peers.classes) == len(CLASSES)
        assert bar_of(peers.network, peers.precision, peers.core), peers
        assert peers_of(peers.network, peers.precision, peers.core) is peers
    known = peers_of("resnet18", "int8", "a76")
    assert known is not None
    assert known.best == "mnn"
    assert bar_of("vgg16", "int8", "a76") == 420
    assert bar_of("alexnet", "int8", "a76") is None
    assert {len(bars) for bars in BARS.values()} == {5}


@pytest.mark.parametrize("option", ["--networks", "--cores", "--precisions"])
def test_what_is_not_known_is_refused(option: str) -> None:
    import typer

    from secateur.tools.bench.arm.__main__ import main

    app = typer.Typer()
    app.command()(main)
    done = CliRunner().invoke(app, [option, "none"])
    assert done.exit_code == 2
    assert "unknown" in done.output
