"""What tests of GPUs share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from secateur.codegen.primitives.conv.adapter import forget
from tests.passes.texts import build

from ...simt.emulator import configure, stand_in
from .networks import FLOATS, compiled


@pytest.fixture(autouse=True)
def asked_anew() -> Iterator[None]:
    """Tests give primitives schedules of their own, which others do not meet."""
    forget()
    yield
    forget()


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
