"""What tests of GPUs share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.passes.texts import build

from ...simt.emulator import configure, stand_in
from .networks import FLOATS, compiled


@pytest.fixture
def gpu() -> Iterator[None]:
    """One that takes everything; after a test, nothing is left on it."""
    configure()
    yield
    assert stand_in().simt_live() == 0
    configure()


@pytest.fixture(scope="package")
def floats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The artifact of `FLOATS`."""
    return compiled(build(FLOATS), tmp_path_factory.mktemp("floats")).path
