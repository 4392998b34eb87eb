"""Pipelines as text: round trip, and errors that name what is known."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from secateur.ir.graph import Graph
from secateur.ir.stages import READ, Stage
from secateur.passes.canonicalize.canonicalize import Canonicalize
from secateur.passes.framework.base import Pass
from secateur.passes.framework.pipeline import PipelineError, format_pass, format_pipeline, parse_pipeline
from secateur.passes.fuse.fuse import Fuse
from secateur.passes.registry import BY_NAME, PASSES, check_rule, rules


@dataclass(frozen=True)
class Sample(Pass):
    """Options of every kind."""

    name: ClassVar[str] = "sample"
    takes: ClassVar[Stage] = READ
    gives: ClassVar[Stage] = READ

    word: str = "plain"
    count: int = 3
    memory: int | None = field(default=None, metadata={"unit": "bytes"})
    share: float = 0.5
    flag: bool = False

    def run(self, graph: Graph) -> Graph:
        return graph


KNOWN: dict[str, type[Pass]] = {"sample": Sample, **BY_NAME}

samples = st.builds(
    Sample,
    word=st.text(max_size=12),
    count=st.integers(-(10**17), 10**17),
    memory=st.none() | st.integers(0, 2**40).map(lambda n: n * 1024) | st.integers(0, 2**50),
    share=st.floats(allow_nan=False),
    flag=st.booleans(),
)
fusions = st.builds(Fuse, level=st.sampled_from(["none", "conservative", "standard"]))
passes = samples | fusions | st.just(Canonicalize())


@given(st.lists(passes, min_size=1, max_size=5))
def test_text_reads_back_to_equal_passes(chosen: list[Pass]) -> None:
    assert parse_pipeline(format_pipeline(chosen), KNOWN) == tuple(chosen)


@given(st.text(alphabet='abcfuse{}=,"\\ 14MiB\n', max_size=40))
def test_any_text_is_read_or_refused_with_one_error(text: str) -> None:
    with suppress(PipelineError):
        assert parse_pipeline(text, KNOWN)


def test_pipeline_of_the_design_page() -> None:
    text = "canonicalize,fuse{level=conservative},sample{memory=4MiB}"
    chosen = parse_pipeline(text, KNOWN)
    assert chosen == (Canonicalize(), Fuse(level="conservative"), Sample(memory=4 << 20))
    assert format_pipeline(chosen) == text


def test_defaults_are_left_out_and_spaces_do_not_matter() -> None:
    (step,) = parse_pipeline("  sample { count = 3 , flag=true }  ", KNOWN)
    assert format_pass(step) == "sample{flag=true}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "canonicalise",
            r"unknown pass 'canonicalise'; did you mean 'canonicalize'\? Known: .*sample",
        ),
        ("fuse{pace=1}", "pass fuse has no option 'pace'; known: level"),
        ("memory{level=1}", "pass memory has no option 'level'; known: in_place"),
        ("fuse{level=wild}", "unknown level 'wild'; known: none, conservative, standard"),
        ("sample{count=many}", "option count=many is not an integer or a size such as 4MiB"),
        ("sample{memory=4MB}", "option memory=4MB is not an integer or a size"),
        ("sample{flag=yes}", "option flag=yes is not true or false"),
        ("sample{share=half}", "option share=half is not a number"),
        ("sample{count=1,count=2}", "option count is given twice"),
        ("fuse{level=standard", "cannot read 'fuse{level=standard'"),
        ("fuse,", "nothing follows the last comma"),
        ("fuse fuse", "cannot read 'fuse fuse'"),
        (",fuse", "cannot read ',fuse'"),
        ("fuse{level}", "cannot read 'level'"),
        ("", "names no pass"),
    ],
)
def test_bad_text_gives_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(PipelineError if "wild" not in text else ValueError, match=message):
        parse_pipeline(text, KNOWN)


def test_the_registry_is_consistent() -> None:
    assert list(BY_NAME) == list(PASSES)
    for name, step in BY_NAME.items():
        assert step.__doc__, step
        assert step.name == name
        assert parse_pipeline(name) == (step(),)


def test_rules_are_found_by_name() -> None:
    assert len(rules()["gelu"]) == 6
    assert check_rule("fold-batch-norm") == "fold-batch-norm"
    with pytest.raises(ValueError, match="there is no rule 'fold-everything'"):
        check_rule("fold-everything")
