"""Artifacts unpacked a little ahead of their use, and removed behind it, so that few lie there at once."""

from __future__ import annotations

import lzma
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from .items import Item

AHEAD = 4  # items
_THREADS = 8
_CHUNK = 1 << 22


def unpacked(
    given: Sequence[Item], folder: Path, scratch: Path, wanted: Callable[[Item], bool]
) -> Iterator[tuple[Item, list[Path]]]:
    """Each item with its artifacts' files, none where it is not `wanted` when its turn to be unpacked comes.

    They are gone when the next one is asked for.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    rest, waiting = deque(given), deque[tuple[Item, list[Future[Path]]]]()
    with ThreadPoolExecutor(_THREADS) as pool:
        while rest or waiting:
            while rest and len(waiting) < AHEAD:
                item = rest.popleft()
                rows = item.rows if wanted(item) else ()
                waiting.append((item, [pool.submit(_unpack, folder / r["file"], scratch) for r in rows]))
            item, futures = waiting.popleft()
            paths = [future.result() for future in futures]
            try:
                yield item, paths
            finally:
                for path in paths:
                    path.unlink()


def _unpack(packed: Path, scratch: Path) -> Path:
    path = scratch / packed.name.removesuffix(".xz")
    with lzma.open(packed) as source, path.open("wb") as file:
        shutil.copyfileobj(source, file, _CHUNK)
    return path
