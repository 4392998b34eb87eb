"""Runs tests as lesser processors would: once for each x86-64 row below this machine's own.

    python -m tests.hosts [options of pytest]

The kernels' tests take every row that this machine can run. Here are tests of what
is compiled for the host: that its code is right on a processor without AVX2,
AVX-512 or VNNI too, and that what needs them is refused or left out there.
"""

from __future__ import annotations

import os
import subprocess
import sys

from secateur.codegen.targets.host import HOST, host, runnable

FILES = (
    "tests/codegen/test_decisions.py",
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
    command = [sys.executable, "-m", "pytest", *options, "-m", "not slow", *FILES]
    code = subprocess.run(command, env=os.environ | {HOST: name}).returncode
    return 0 if code == NOTHING_CHOSEN else code


def main() -> int:
    """The worst exit code."""
    return max((run(name, sys.argv[1:]) for name in lesser()), default=0)


if __name__ == "__main__":
    sys.exit(main())
