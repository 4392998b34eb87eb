"""What is kept for other test processes is computed once, and computed again where nothing can be kept."""

from pathlib import Path

from .kept import kept


def test_it_is_computed_once_for_each_name(tmp_path: Path) -> None:
    calls: list[int] = []

    def compute() -> list[int]:
        calls.append(len(calls))
        return list(calls)

    assert kept("one", compute, tmp_path / "made") == [0]
    assert kept("one", compute, tmp_path / "made") == [0]
    assert kept("other", compute, tmp_path / "made") == [0, 1]


def test_without_a_place_it_is_computed_each_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert kept("one", lambda: 7, tmp_path / "file") == 7
