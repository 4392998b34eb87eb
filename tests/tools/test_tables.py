"""Tables fit the terminal: long texts lose their middle, and columns that can be spared are named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from secateur.tools import tables
from secateur.tools.tables import shortened, table

from .conftest import Cli

HEADINGS = ("node", "time", "layouts")
ROWS = [
    ("/features/denseblock4/layer16/conv2/Conv", "1.50 ms", "NCHW8c NCHW8c -> NCHW8c"),
    ("/a", 3, None),
]


@pytest.fixture(params=[200, 100, 80, 60, 44, 30])
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(tables, "terminal_width", lambda: request.param)
    return int(request.param)


def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = table(HEADINGS, ROWS, right=("time",), shorten=("node", "layouts"), spare=("layouts",)).split(
        "\n"
    )
    assert max(map(len, lines[:4])) <= width
    assert [line.startswith("/f") for line in lines].index(True) == 2
    assert "1.50 ms" in lines[2]
    assert ("layouts" in lines[0]) == (width > 50)
    assert lines[4:] == ([] if width > 50 else ["(not shown, for want of width: layouts)"])


def test_a_file_or_a_program_gets_all() -> None:
    text = table(HEADINGS, ROWS, shorten=("node",), spare=("layouts",))
    assert ROWS[0][0] in text
    assert str(ROWS[0][2]) in text


def test_a_terminal_is_as_wide_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "57")
    assert tables.terminal_width() is None
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert tables.terminal_width() == 57


@pytest.mark.parametrize(("width", "text"), [(7, "/a/b/cc"), (6, "/a/…cc"), (5, "/a…cc"), (4, "/a…c")])
def test_what_is_too_long_loses_its_middle(width: int, text: str) -> None:
    assert shortened("/a/b/cc", width) == text


def test_a_terminal_of_few_letters_gets_one_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_can_print", lambda _text: False)
    assert shortened("/a/b/cc", 5) == "/a~cc"


def test_what_inspect_says_fits(cli: Cli, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "terminal_width", lambda: 80)
    out = cli("inspect", model).out
    grids = [line for line in out.splitlines() if "  " in line and not line.startswith(("file", "time:"))]
    assert max(map(len, grids)) <= 80
    assert "(not shown, for want of width: layouts" in out
