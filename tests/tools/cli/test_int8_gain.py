"""What int8 is estimated to gain, and whose time stands beside whose."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from secateur.codegen.backends.cpu.costs import AnalyticCosts
from secateur.codegen.targets.find import find
from secateur.ir.errors import SecateurError
from secateur.ir.graph import Graph
from secateur.model import read
from secateur.passes.framework.manager import PassManager
from secateur.passes.quantize.options import Options
from secateur.prepare import prepare
from secateur.runtime.session import OperatorTime
from secateur.tools.cli.int8_gain import Gain, int8_gain
from secateur.tools.pages.quantization_times import (
    Selection,
    Timed,
    by_rows,
    float_selection,
    medians,
    of_rows,
)

DIGITS = Path(__file__).resolve().parents[3] / "examples" / "digits" / "resnet20.onnx"
VNNI = "x86-64-v4-vnni"


@pytest.fixture(scope="module")
def digits() -> Graph:
    return read(DIGITS)


def test_int8_pays_where_there_is_a_dot_product(digits: Graph) -> None:
    gain = int8_gain(digits, VNNI)
    assert 1.3 < gain.ratio < 6
    assert gain.pays
    assert gain.float_seconds >= sum(t.seconds for t in float_selection(digits, VNNI)) * (1 - 1e-9)


def test_winograd_tiles_gain_more(digits: Graph) -> None:
    plain = int8_gain(digits, VNNI, Options(winograd="off"))
    assert int8_gain(digits, VNNI).int8_seconds < plain.int8_seconds


def test_a_file_of_quantizations_counts_no_tile(digits: Graph) -> None:
    plain = int8_gain(digits, VNNI, Options(winograd="off", layers="all"))
    assert int8_gain(digits, VNNI, qdq=True).int8_seconds == pytest.approx(plain.int8_seconds)


def test_gain_leaves_the_graph_as_it_was(digits: Graph) -> None:
    before = [op.name for op in digits.operators]
    int8_gain(digits, "rpi4")
    assert [op.name for op in digits.operators] == before


def test_the_line_says_whether_it_pays() -> None:
    gain = Gain("rpi3", 2e-3, 1e-3)
    assert gain.text == "int8 pays on rpi3: up to 2.0x as fast (2.00 ms in float, 1.00 ms in int8, estimated)"
    assert replace(gain, int8_seconds=2.5e-3).text.startswith("int8 does not pay on rpi3: 0.80x as fast (")
    assert replace(gain, int8_seconds=1.99e-3).text.startswith("int8 does not pay")
    some = replace(gain, layers=9, in_float=2).text
    assert some.endswith("estimated); 2 of 9 layers stay in float, where int8 is slower")
    none = replace(gain, int8_seconds=3e-3, chosen=True).text
    assert none.endswith("estimated); the network stays in float")


def with_lstm() -> onnx.ModelProto:
    """A convolution of 1x3x8x8, whose 64 pixels an LSTM reads one after another."""
    known = {"w": (16, 3, 3, 3), "in": (1, 64, 16), "back": (1, 64, 16)}
    arrays = [numpy_helper.from_array(np.full(s, 0.1, np.float32), n) for n, s in known.items()]
    arrays.append(numpy_helper.from_array(np.array([64, 1, 16]), "rows"))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("Transpose", ["c"], ["t"], "transpose", perm=[2, 3, 0, 1]),
        helper.make_node("Reshape", ["t", "rows"], ["r"], "reshape"),
        helper.make_node("LSTM", ["r", "in", "back"], ["y"], "lstm", hidden_size=16),
    ]
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in {"x": (1, 3, 8, 8), "y": (64, 1, 1, 16)}.items()
    ]
    return helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], arrays))


def test_the_line_says_what_takes_the_time_whatever_int8_gains(tmp_path: Path) -> None:
    onnx.save(with_lstm(), path := tmp_path / "lstm.onnx")
    found = int8_gain(read(path), "jetson-orin")
    assert re.search(r"; lstm, which has no int8, takes \d.* us of both; the network stays", found.text)
    assert "which has no" not in replace(found, slowest=("nn.lstm", 0.4 * found.int8_seconds)).text


def test_a_network_that_stays_in_float_is_as_fast_as_that() -> None:
    gain = Gain("rpi3", 2e-3, 3e-3, chosen=True)
    assert gain.ratio == pytest.approx(2 / 3)
    assert gain.expected == 1.0
    assert replace(gain, chosen=False).expected == gain.ratio
    assert replace(gain, int8_seconds=1e-3).expected == 2.0


def test_unknown_target_is_refused(digits: Graph) -> None:
    with pytest.raises(SecateurError, match="unknown target 'rpi33'"):
        int8_gain(digits, "rpi33")


def test_selection_notes_what_was_chosen_in_order(digits: Graph) -> None:
    target = find(VNNI)
    selection = Selection(AnalyticCosts(target))
    outcome = PassManager(prepare("canonicalize,fuse,select", target), (selection,)).run(digits)
    chosen = [op for op in outcome.graph.operators if op.name != "nn.constant"]
    assert [t.primitive for t in selection.timed] == [op["primitive"] for op in chosen]
    assert [t.loc for t in selection.timed] == [op.loc for op in chosen]
    assert all(t.seconds >= 0 for t in selection.timed)
    assert sum(t.seconds for t in selection.timed) > 0


ROWS = [Timed("conv+relu", "linear_conv", "direct", 1.0), Timed("add", "linear_add", "chain", 1.0),
        Timed("", "quantize", "quantize_bytes", 1.0)]  # fmt: skip


def test_float_operators_count_where_their_first_known_node_is() -> None:
    others = [(["bn", "conv"], 2.0), (["relu"], 3.0), (["add", "conv"], 5.0), (["gone"], 7.0)]
    assert by_rows(ROWS, others) == [5.0, 5.0, None]


def test_measured_operators_are_found_by_node_and_kind() -> None:
    measured = [("prim.quantize", "quantize", 0.5), ("conv+relu", "relayout", 9.0),
                ("conv+relu", "linear_conv", 0.25)]  # fmt: skip
    assert of_rows(ROWS, measured) == [0.25, None, 0.5]


def test_equal_operators_take_their_times_in_order() -> None:
    twice = [ROWS[0], ROWS[0]]
    measured = [("conv+relu", "linear_conv", 1.0), ("conv+relu", "linear_conv", 2.0)]
    assert of_rows(twice, measured) == [1.0, 2.0]


def test_medians_are_of_each_operator() -> None:
    runs = [[OperatorTime("a", "prim.conv", ns, 0), OperatorTime("b", "prim.add", 7, 0)] for ns in (9, 1, 5)]
    assert medians(runs) == [("a", "conv", 5e-9), ("b", "add", 7e-9)]
