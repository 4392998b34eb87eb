"""What criteria of data share: a group is ranked by what its readers compute, or as terms of opened sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from secateur.ir.channels import Group

from ..linear.problems import Problem, problems
from .criterion import Evidence, Ranking, Rankings
from .terms import rank_terms

RankGroup = Callable[[Sequence[Problem], int], Ranking]
"""From the problems of all its readers, and its size, to a group's ranking."""


def rank_by_readers(evidence: Evidence, rank_group: RankGroup) -> Rankings:
    """The ranking of every group; what no linear operator reads is ranked as a term of sums."""
    found: Rankings = {}
    unread: list[Group] = []
    for group, parts in problems(evidence.graph, evidence.groups, evidence.data, evidence.sensitivity):
        if parts:
            found[group.name] = rank_group(parts, group.size)
        else:
            unread.append(group)
    return found | rank_terms(evidence, unread)
