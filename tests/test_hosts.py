"""What is left out of the runs as lesser processors."""

from __future__ import annotations

from copy import copy
from pathlib import Path
from types import SimpleNamespace

import pytest

from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target

from . import hosts
from .hosts import ALIKE, FILES, KERNELS, TURN, _is_alike, _names_a_row, main
from .sampled import ALL_EXAMPLES

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("row", [TARGETS["x86-64-v2"], "x86-64-v2"], ids=["row", "name"])
def test_a_row_among_the_parameters_is_seen(request: pytest.FixtureRequest, row: Target | str) -> None:
    assert _names_a_row(request.node) is isinstance(row, Target)


def test_a_test_without_parameters_names_none(request: pytest.FixtureRequest) -> None:
    assert not _names_a_row(request.node)


def test_what_is_the_same_on_every_processor_is_left_out(request: pytest.FixtureRequest) -> None:
    assert not _is_alike(request.node)
    request.node.originalname = min(ALIKE)
    assert _is_alike(request.node)


def test_what_is_left_out_is_in_the_files() -> None:
    """A test that goes by another name would be run again."""
    texts = "".join((ROOT / name).read_text() for name in FILES)
    assert [name for name in ALIKE if f"def {name}(" not in texts] == []


@pytest.mark.parametrize(("swept", "longer"), [("", True), ("", False), ("1", False)])
def test_kernels_on_vectors_as_long_have_been_tried(
    swept: str, longer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other files come first, and so have the same turns either way."""
    monkeypatch.setenv(ALL_EXAMPLES, swept)
    monkeypatch.setattr(hosts, "host", lambda: TARGETS["x86-64-v4" if longer else "x86-64-v2"])
    assert hosts.files("x86-64-v2") == (FILES if longer or swept else FILES[: -len(KERNELS)])
    assert FILES[-len(KERNELS) :] == KERNELS


@pytest.mark.parametrize(
    ("swept", "wanted"), [("", {"a": "0/2", "b": "1/2"}), ("1", {"a": "0/1", "b": "0/1"})]
)
def test_rows_take_turns(swept: str, wanted: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst of their exit codes is that of all."""
    ran: dict[str, str] = {}

    def run(name: str, turn: str, options: list[str]) -> tuple[int, str]:
        assert options == ["-q"]
        ran[name] = turn
        return int(name == "a"), "output"

    monkeypatch.setenv(ALL_EXAMPLES, swept)
    monkeypatch.setattr(hosts, "run", run)
    monkeypatch.setattr(hosts, "lesser", lambda: ["a", "b"])
    assert main(["--jobs", "2", "-q"]) == 1
    assert ran == wanted


@pytest.mark.parametrize("turn", ["0/2", "1/2"])
def test_a_row_has_its_turn(
    turn: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TURN, turn)
    left: list[pytest.Item] = []
    config = SimpleNamespace(hook=SimpleNamespace(pytest_deselected=lambda items: left.extend(items)))
    first, second = request.node, copy(request.node)
    items = [first, second]
    hosts.pytest_collection_modifyitems(config, items)  # type: ignore[arg-type]
    assert items == [second if turn == "1/2" else first]
    assert len(left) == 1
