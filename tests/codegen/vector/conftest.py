"""Cases of one test take turns on the instruction sets here; `make test-sweeps` has each on all."""

from pathlib import Path

import pytest

from secateur.codegen.targets.target import Target

from ...sampled import take_turns

HERE = f"{Path(__file__).parent}/"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    take_turns([item for item in items if str(item.path).startswith(HERE)], Target)
