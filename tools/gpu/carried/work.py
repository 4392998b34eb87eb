"""The process that has the GPU: does what is not done yet, for as long as there is time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .checks import check
from .contest import Contest
from .cudnn import refusal
from .driver import Driver, DriverError
from .items import Item, Pace, ends, items
from .peers import torch_here
from .results import Results
from .unpack import unpacked

NO_DRIVER, LOST = 2, 3  # exit codes


class Worker:
    """Goes through the index of `folder`; results lie in `out`."""

    def __init__(self, folder: Path, out: Path, seconds: float, peers: bool) -> None:
        self.folder, self.peers = folder, peers
        self.results, self.pace, self.ends = Results(out), Pace(), ends(seconds)
        self.scratch, self.torch, self.of_bytes = out / "unpacked", None, False
        self.begin: float = time.monotonic() - self.results.data["spent"]

    def run(self) -> int:
        """The exit code: 0, or what a process is to know that starts this one."""
        driver = self._driver()
        if driver is None:
            return NO_DRIVER
        for item, paths in unpacked(list(self._wanted()), self.folder, self.scratch, self._fits):
            if not (paths and self._fits(item)):
                self.results.data["left_out"].append(item.name)
                self.results.finish(item.name)
                continue
            self._one(driver, item, paths)
            if not _alive(driver):
                return LOST
        driver.close()
        return 0

    def _driver(self) -> Driver | None:
        try:
            driver = Driver()
        except (OSError, DriverError) as error:
            print(error, flush=True)
            return None
        self.results.data["about"] |= driver.about()
        return driver

    def _wanted(self) -> Iterator[Item]:
        index = json.loads((self.folder / "index.json").read_text())
        yield from (item for item in items(index) if item.name not in self.results.data["done"])

    def _fits(self, item: Item) -> bool:
        return self._spent() + self.pace(item.seconds(self.peers)) <= self.ends[item.part]

    def _spent(self) -> float:
        return time.monotonic() - self.begin

    def _one(self, driver: Driver, item: Item, paths: list[Path]) -> None:
        """Adds what the item gives, or what it failed with."""
        data, begin = self.results.data, self._spent()
        data["begun"], data["spent"] = {"name": item.name, "check": item.is_check}, begin
        self.results.write()
        try:
            self._do(driver, item, paths)
        except (DriverError, OSError) as error:
            self.results.failed(item.name, item.is_check, str(error))
        data["spent"] = self._spent()
        self.pace.add(item.seconds(self.peers), data["spent"] - begin)
        self.results.finish(item.name)
        print(f"{data['spent']:6.1f} s  {item.part}: {item.name}", flush=True)

    def _do(self, driver: Driver, item: Item, paths: list[Path]) -> None:
        if item.is_check:
            (row,) = item.rows
            self.results.data["checks"].append(check(self.folder / row["answers"], paths[0], row))
            return
        self._meet_peers()
        contest = Contest(list(zip(item.rows, paths, strict=True)), self.torch, self.of_bytes)
        self.results.data["times"] += contest.run(driver)

    def _meet_peers(self) -> None:
        """PyTorch takes seconds to start, and answers are checked without it."""
        if self.peers and self.torch is None:
            self.torch = torch_here()
            self.peers = self.torch is not None
            reason = refusal() if self.torch else ""
            self.of_bytes = self.torch is not None and not reason
            self.results.data["about"]["cudnn of bytes"] = reason or "asked by its own interface"
        cudnn: Any = self.torch.backends.cudnn.version() if self.torch else "missing (no PyTorch with a GPU)"
        self.results.data["about"]["cudnn"] = str(cudnn)


def _alive(driver: Driver) -> bool:
    """Whether its context still takes work: a kernel that reads outside its memory ends it."""
    try:
        driver.wait()
    except DriverError:
        return False
    return True
