"""One base of errors: what the public face raises is a SecateurError, whichever folder it comes from."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

import secateur
from secateur import SecateurError
from secateur.ir import errors
from tests.repository.import_graph import walked

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("ir", "passes", "codegen", "costs", "runtime", "secateur")
INSIDE = {
    "BeyondError": "an answer of the optimizer to itself",
    "CutShortError": "an answer of the selector to itself",
    "MatchFailure": "an answer of a rule",
    "NoCourseError": "an answer of the selector to itself",
    "NodeError": "becomes a ModelError that names the node",
    "TooManyLabelsError": "an answer of the selector to itself",
    "TooWideError": "an answer of the selector to itself",
    "Unmapped": "becomes a SecateurError that lists all that has no form",
    "_SpentError": "ends a measurement when its time is spent",
    "_TooManyError": "an answer of the optimizer to itself",
    "_TwiceError": "becomes a SecateurError that names the file",
    "TypeRuleError": "becomes a ParseError, a VerifyError or a ModelError that names the operator",
}
"""Exceptions that are caught where they are understood, and why."""


_EXCEPTION = re.compile(r"\bclass \w+\([^)]*(Error|Exception)\b")


@cache
def exceptions() -> tuple[tuple[str, str], ...]:
    """Every class that is an exception, by its own or its base's name, with its base."""
    texts = [path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    trees = (ast.parse(text) for text in texts if _EXCEPTION.search(text))
    nodes = chain.from_iterable(walked(tree, in_calls=False) for tree in trees)
    classes = [node for node, _ in nodes if isinstance(node, ast.ClassDef)]
    bases = [(c.name, ast.unparse(base).rpartition(".")[2]) for c in classes for base in c.bases]
    return tuple((name, base) for name, base in bases if base.endswith(("Error", "Exception")))


def test_every_exception_is_a_users_error_or_stays_inside() -> None:
    bases = dict(exceptions())
    assert {"ArtifactError", "LinkError", "ModelError", "ParseError", "SessionError"} <= bases.keys()

    def root(name: str) -> str:
        return root(bases[name]) if name in bases and name not in {"SecateurError", *INSIDE} else name

    assert {name: root(name) for name in bases if root(name) not in {"SecateurError", *INSIDE}} == {}
    assert INSIDE.keys() <= bases.keys()


def test_there_is_one_base() -> None:
    assert secateur.SecateurError is errors.SecateurError
    assert [name for name, _ in exceptions()].count("SecateurError") == 1


def _damaged(folder: Path) -> Path:
    path = folder / "model.so"
    path.write_bytes(b"\x7fELF, and then nothing")
    return path


CALLS: dict[str, Callable[[Path], object]] = {
    "load: no such file": lambda folder: secateur.load(folder / "absent.so"),
    "load: damaged": lambda folder: secateur.load(_damaged(folder)),
    "load: threads": lambda folder: secateur.load(_damaged(folder), threads=0),
    "compile: no such file": lambda folder: secateur.compile(folder / "absent.onnx", folder / "a.so"),
    "compile: damaged": lambda folder: secateur.compile(_damaged(folder), folder / "a.so"),
    "compile: target": lambda folder: secateur.compile(_damaged(folder), folder / "a.so", target="abacus"),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_the_public_face_refuses(name: str, tmp_path: Path) -> None:
    with pytest.raises(SecateurError):
        CALLS[name](tmp_path)
