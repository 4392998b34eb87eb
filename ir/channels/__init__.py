"""Channel dependencies: what must be removed from a graph together, and what cannot be.

for group in find_channels(graph).groups:
    print(group.name, group.size)
"""

from .cut import Cut
from .find import find_channels
from .model import NONE, Channels, Frozen, Group, Member, Place

__all__ = ["NONE", "Channels", "Cut", "Frozen", "Group", "Member", "Place", "find_channels"]
