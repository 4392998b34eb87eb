"""Runs tests as lesser processors would: on each x86-64 row below this machine's own.

    python -m tests.hosts [--jobs N] [options of pytest]

The kernels' tests take every row that this machine can run. Here are tests of what
is compiled for the host: that its code is right on a processor without AVX2,
AVX-512 or VNNI too, and that what needs them is refused or left out there. What
names its row is left out, and so is what is the same on every processor, and kernels on
vectors as long as this machine's: all that has been tried. The rest takes turns: each test
on one of the rows; in `make test-sweeps` on all.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from secateur.codegen.targets.host import HOST, host, runnable
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.targets.target import Target

from .sampled import whole

KERNELS = (
    "tests/codegen/primitives/elementwise/test_elementwise_kernels.py",
    "tests/codegen/primitives/test_generic_kernels.py",
    "tests/codegen/primitives/test_linear_bytes.py",
    "tests/codegen/primitives/reduce/test_pool_kernels.py",
)
FILES = (
    "tests/runtime/test_manifest.py",
    "tests/secateur/test_compile.py",
    "tests/secateur/test_quantize.py",
    "tests/tools/cli/commands/test_compile.py",
    "tests/tools/cli/commands/test_quantize.py",
    "tests/tools/test_profiling.py",
    "tests/tools/test_tuning.py",
    *KERNELS,  # at the end: the others have the same turns without them
)
ALIKE = {
    "test_a_damaged_entry_is_measured_again",
    "test_a_wrong_table_is_found_wrong",
    "test_an_sqnr_is_for_the_quantization_and_what_is_forbidden_for_the_selection",
    "test_choices_keep_their_noise_when_they_are_timed",
    "test_every_kernel_is_run_in_every_round",
    "test_every_machine_gives_the_interpreters_answer",
    "test_an_edited_plan_is_honoured",
    "test_an_interrupt_leaves_what_was_there_before",
    "test_an_interrupt_while_calibrating_leaves_nothing",
    "test_every_layer_keeps_its_sqnr",
    "test_full_int8_with_winograd_loses_at_most_a_third_of_a_point",
    "test_quantize_writes_what_onnx_runtime_runs",
    "test_several_primitives_are_timed_once",
    "test_the_manifest_tells_the_options",
    "test_the_same_model_and_options_give_the_same_bytes",
}
"""Of these files, the same on every processor or held by others to the bit; none of them is quick."""
TURN = "SECATEUR_TEST_TURN"  # in the environment: which of how many, as `0/3`
NOTHING_CHOSEN = 5  # pytest's exit code where -k or -m leave no test


def lesser() -> list[str]:
    """The rows that this machine can run, without those whose features are its own."""
    mine = host().features
    return [row.name for row in runnable() if row.features != mine]


def files(name: str) -> tuple[str, ...]:
    """Those to run as that row: kernels on vectors as long as this machine's have been tried."""
    tried = TARGETS[name].lanes == host().lanes and not whole()
    return tuple(file for file in FILES if not (tried and file in KERNELS))


def run(name: str, turn: str, options: Sequence[str]) -> tuple[int, str]:
    """pytest's exit code and output on a machine that has the features of that row."""
    chosen = ["-m", "not slow and not sweep", *files(name)]
    command = [sys.executable, "-m", "pytest", "-p", "tests.hosts", *options, *chosen]
    environment = os.environ | {HOST: name, TURN: turn}
    done = subprocess.run(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    return 0 if done.returncode == NOTHING_CHOSEN else done.returncode, done.stdout


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """For the runs above, whose plugin this module is: what depends on the processor, in turn."""
    turn, of = map(int, os.environ[TURN].split("/"))
    tried = [item for item in items if isinstance(item, pytest.Function) and not _is_alike(item)]
    chosen = tried[turn::of]
    config.hook.pytest_deselected(items=[item for item in items if item not in chosen])
    items[:] = chosen


def _is_alike(test: pytest.Function) -> bool:
    return test.originalname in ALIKE or _names_a_row(test)


def _names_a_row(test: pytest.Function) -> bool:
    parameters = test.callspec.params.values() if hasattr(test, "callspec") else ()
    return any(isinstance(value, Target) for value in parameters)


def main(words: Sequence[str] | None = None) -> int:
    """The worst exit code."""
    parser = argparse.ArgumentParser(description="tests as lesser processors would run them", add_help=False)
    parser.add_argument("--jobs", type=int, default=1)
    asked, options = parser.parse_known_args(words)
    names = lesser()
    turns = [f"{place}/{len(names)}" for place in range(len(names))]
    with ThreadPoolExecutor(asked.jobs) as workers:
        runs = workers.map(run, names, ["0/1"] * len(names) if whole() else turns, [options] * len(names))
        codes = []
        for name, (code, told) in zip(names, runs, strict=True):
            print(f"as {name}:\n{told}", flush=True)
            codes.append(code)
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
