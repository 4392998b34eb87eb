"""Runs tests as lesser processors would: once for each x86-64 row below this machine's own.

    python -m tests.hosts [options of pytest]

The kernels' tests take every row that this machine can run. Here are tests of what
is compiled for the host: that its code is right on a processor without AVX2,
AVX-512 or VNNI too, and that what needs them is refused or left out there. What
names its row is left out: it has been tried, and is the same on every processor.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from secateur.codegen.targets.host import HOST, host, runnable
from secateur.codegen.targets.target import Target

FILES = (
    "tests/codegen/primitives/elementwise/test_elementwise_kernels.py",
    "tests/codegen/primitives/test_generic_kernels.py",
    "tests/codegen/primitives/test_linear_bytes.py",
    "tests/codegen/primitives/reduce/test_pool_kernels.py",
    "tests/runtime/test_manifest.py",
    "tests/secateur/test_compile.py",
    "tests/secateur/test_quantize.py",
    "tests/tools/cli/commands/test_compile.py",
    "tests/tools/cli/commands/test_quantize.py",
    "tests/tools/test_profiling.py",
    "tests/tools/test_tuning.py",
)
NOTHING_CHOSEN = 5  # pytest's exit code where -k or -m leave no test


def lesser() -> list[str]:
    """The rows that this machine can run, without those whose features are its own."""
    mine = host().features
    return [row.name for row in runnable() if row.features != mine]


def run(name: str, options: list[str]) -> int:
    """pytest's exit code on a machine that has the features of that row."""
    print(f"as {name}:", flush=True)
    chosen = ["-m", "not slow and not sweep", *FILES]
    command = [sys.executable, "-m", "pytest", "-p", "tests.hosts", *options, *chosen]
    code = subprocess.run(command, env=os.environ | {HOST: name}).returncode
    return 0 if code == NOTHING_CHOSEN else code


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For the run above, whose plugin this module is: without the tests whose parameter is a row."""
    named = [item for item in items if isinstance(item, pytest.Function) and _names_a_row(item)]
    config.hook.pytest_deselected(items=named)
    items[:] = [item for item in items if item not in named]


def _names_a_row(test: pytest.Function) -> bool:
    parameters = test.callspec.params.values() if hasattr(test, "callspec") else ()
    return any(isinstance(value, Target) for value in parameters)


def main() -> int:
    """The worst exit code."""
    return max((run(name, sys.argv[1:]) for name in lesser()), default=0)


if __name__ == "__main__":
    sys.exit(main())
