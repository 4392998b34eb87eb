"""What messages say of names that do not exist."""

from __future__ import annotations

from pathlib import Path

from secateur.ir.support.words import known_names, listed, meant

ROOT = Path(__file__).resolve().parents[2]
PASSES = ["canonicalize", "fuse"]


def test_a_near_name_is_proposed() -> None:
    assert meant("fuze", PASSES) == "; did you mean 'fuse'?"
    assert meant("x", PASSES) == ""
    assert known_names("fuze", PASSES) == "; did you mean 'fuse'? Known: canonicalize, fuse"
    assert known_names("x", PASSES) == "; known: canonicalize, fuse"
    assert known_names("x", []) == "; known: none"


def test_the_first_few_are_listed() -> None:
    assert listed(["fuze"], PASSES) == "'fuze'; did you mean 'fuse'?"
    assert listed(list("abcdefg"), PASSES) == "'a', 'b', 'c', 'd', 'e' and 2 more"


def test_nearness_is_judged_in_one_place() -> None:
    folders = ("ir", "passes", "codegen", "costs", "runtime", "secateur", "tools")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    users = [path.relative_to(ROOT).as_posix() for path in files if "difflib" in path.read_text()]
    assert users == ["ir/support/words.py"]
