"""Which readers wish a value in which layouts, and what values whose readers are the same have in common.

A reader's *wish* for a value is a set of layouts for each of its ways. All that a value's cost depends on is
the union of what its readers wish. Values with the same readers share that union; one whose readers are
another's and some more has the other's union and what these add. In a DenseNet, where every layer
concatenates everything before it, the unions form a chain, and the labelling stays a narrow one; with a
variable of its own for each value, tied to each of its readers, it would be as wide as the network is deep.

Unions are the nodes of a tree of prefixes over the readers, those that most values have in common first
(the FP-tree of Han, Pei and Yin 2000). A node that no value ends in and that does not branch is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

CALLER = -1  # the reader of outputs

Layouts = frozenset[str]
Wish = tuple[int, tuple[Layouts, ...]]  # a reader, and what each of its ways wishes


@dataclass(eq=False)
class Union:
    """What the wishes of several readers come to: those in `wishes`, and all that `above` comes to.

    `values` are those whose readers these are; `layouts` all that may be wished.
    """

    wishes: tuple[Wish, ...] = ()
    above: Union | None = None
    values: list[int] = field(default_factory=list)
    layouts: Layouts = frozenset()
    branches: dict[Wish, Union] = field(default_factory=dict)

    def put(self, above: Union | None, wishes: tuple[Wish, ...]) -> None:
        """Places the union below another, with all wishes that this does not have."""
        own = (layouts for _, ways in wishes for layouts in ways)
        self.above, self.wishes = above, wishes
        self.layouts = frozenset().union(*own, above.layouts if above else ())


def unions(wishes: Mapping[int, Iterable[Wish]]) -> list[Union]:
    """The unions of the values' wishes, each behind the one above it; values without readers have none."""
    often = Counter(wish for wished in wishes.values() for wish in wished)
    place = {wish: i for i, (wish, _) in enumerate(often.most_common())}
    root = Union()
    for value, wished in wishes.items():
        node = root
        for wish in sorted(wished, key=place.__getitem__):
            node = node.branches.setdefault(wish, Union((wish,)))
        if node is not root:
            node.values.append(value)
    return list(_joined(root))


def _joined(root: Union) -> Iterator[Union]:
    """The nodes that stand for something, each with the wishes of those left out above it."""
    stack: list[tuple[Union, Union | None, tuple[Wish, ...]]] = [
        (n, None, ()) for n in root.branches.values()
    ]
    while stack:
        node, above, passed = stack.pop()
        wishes = (*passed, *node.wishes)
        shared = len(node.branches) > 1 and (above is not None or len(wishes) > 1)
        if node.values or shared:
            node.put(above, wishes)
            yield node
            above, wishes = node, ()
        stack += [(branch, above, wishes) for branch in node.branches.values()]
