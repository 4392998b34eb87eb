"""The one list of passes and rules holds all that there are."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from types import ModuleType

import pytest

import secateur.passes
from secateur.ir.errors import SecateurError
from secateur.ir.rewrite import Rule
from secateur.passes.framework.base import Pass
from secateur.passes.registry import BY_NAME, check_rule, declaration, rules


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(secateur.passes.__path__, "secateur.passes."):
        yield import_module(found.name)


def rules_in(thing: object) -> Iterator[Rule]:
    """The rules that something is, or holds."""
    if isinstance(thing, Rule):
        yield thing
    elif isinstance(thing, dict):
        yield from rules_in(tuple(thing.values()))
    elif isinstance(thing, list | tuple | set | frozenset):
        for part in thing:
            yield from rules_in(part)


def test_every_rule_is_listed() -> None:
    existing = {rule: module.__name__ for module in modules() for rule in rules_in(vars(module))}
    listed = [rule for rows in rules().values() for rule in rows]
    assert len(listed) > 80
    assert {f"{module}: {rule.name}" for rule, module in existing.items() if rule not in listed} == set()
    assert len(set(listed)) == len(listed)
    assert all(rule.name == name for name, rows in rules().items() for rule in rows)


def test_every_pass_is_listed() -> None:
    existing = {
        thing
        for module in modules()
        for thing in vars(module).values()
        if isinstance(thing, type) and issubclass(thing, Pass) and thing is not Pass
    }
    assert existing == set(BY_NAME.values())


@pytest.mark.parametrize("name", BY_NAME)
def test_options_are_declared_apart(name: str) -> None:
    declared = declaration(name)
    assert declared is not None
    own = [field.name for field in fields(BY_NAME[name]) if field.metadata.get("option", True)]
    assert own == [field.name for field in fields(declared)]


def test_an_unknown_rule_is_refused() -> None:
    assert check_rule("add-zero") == "add-zero"
    with pytest.raises(SecateurError, match="there is no rule 'add-zer'; did you mean 'add-zero'"):
        check_rule("add-zer")
