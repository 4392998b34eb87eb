"""Random numbers of the harnesses are the same for a test wherever it runs, and whatever ran before."""

from .generic_harness import restart


def pytest_runtest_setup() -> None:
    restart()
