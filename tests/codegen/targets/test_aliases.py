"""Names of boards that are not ours: each is refused with the row that is meant."""

from __future__ import annotations

import pytest

from secateur.codegen.targets.aliases import _TABLE, ALIASES, key, meant_by
from secateur.codegen.targets.find import find
from secateur.codegen.targets.rows import TARGETS, named
from secateur.ir.errors import SecateurError

KNOWN = ("host", *TARGETS)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        *[(n, "did you mean 'rpi4'?") for n in ("raspberrypi4", "raspberry-pi-4", "Raspberry Pi 4", "RPI4")],
        *[(n, "did you mean 'rpi4'?") for n in ("pi4", "rpi_4", "cortex-a72", "BCM2711", "rasberrypi4")],
        ("raspberrypi", "did you mean 'rpi4', 'rpi3', 'rpi5' or 'rpi2'?"),
        ("jetson", "'jetson-nano', 'jetson-tx2', 'jetson-xavier', 'jetson-orin' or 'jetson-orin-nano'?"),
        ("jetson_nano", "did you mean 'jetson-nano'?"),
        ("jetson_orin", "did you mean 'jetson-orin'?"),
        ("jetson-orin-nx", "did you mean 'jetson-orin'?"),
        ("JetsonTX2", "did you mean 'jetson-tx2'?"),
        ("cuda-sm_87", "did you mean 'jetson-orin' or 'jetson-orin-nano'?"),
        ("cuda-sm_72", "did you mean 'jetson-xavier'?"),
        ("sm_90", "did you mean 'cuda-sm_90'?"),
        ("cuda-sm_60", "did you mean 'cuda-sm_"),
        ("cortex-a78ae", "did you mean 'jetson-orin-cpu'?"),
        ("opencl", "GPUs of NVIDIA's alone are targets; known: host"),
        *[(n, "did you mean 'edgetpu'?") for n in ("coral", "TPU", "Edge TPU")],
        ("tflite", "did you mean 'litert'?"),
        ("Myriad X", "did you mean 'ncs2'?"),
        ("armv6", "kernels need NEON, which ARMv6 lacks; known: host"),
        *[(n, "did you mean 'armv8-a'?") for n in ("aarch64", "arm64", "ARM64", "armv8")],
        *[(n, "did you mean 'armv7-a+neon'?") for n in ("armv7", "armv7l", "armhf")],
        *[(n, "did you mean 'x86-64-v3', 'x86-64-v2' or 'x86-64-v4'?") for n in ("x86", "x86_64", "amd64")],
        ("native", "did you mean 'host'?"),
        ("HOST", "did you mean 'host'?"),
        ("x86_64_v3", "did you mean 'x86-64-v3'?"),
        ("armv8.2a+dotprod", "did you mean 'armv8.2-a+dotprod'?"),
        ("rpi44", "did you mean 'rpi4'?"),
        ("toaster", "unknown target 'toaster'; known: host"),
        ("", "unknown target ''; known: host"),
    ],
)  # fmt: skip
def test_what_is_meant_is_said(name: str, hint: str) -> None:
    with pytest.raises(SecateurError) as refused:
        find(name)
    assert hint in str(refused.value)


@pytest.mark.parametrize("alias", sorted(ALIASES))
def test_every_alias_means_rows_that_exist(alias: str) -> None:
    assert set(ALIASES[alias].rows) <= set(KNOWN)
    assert ALIASES[alias].rows or ALIASES[alias].note
    assert meant_by(alias, KNOWN) == ALIASES[alias], "no row has that name"


def test_every_alias_stands_once() -> None:
    names = [key(name) for _, names in _TABLE for name in names.split()]
    assert len(names) == len(set(names)), sorted({n for n in names if names.count(n) > 1})


@pytest.mark.parametrize("row", KNOWN)
def test_a_row_is_found_however_it_is_written(row: str) -> None:
    assert meant_by(row.upper().replace("-", "_"), KNOWN).rows == (row,)


def test_only_what_may_be_given_is_meant() -> None:
    """SECATEUR_HOST names a row: `host` is none there."""
    with pytest.raises(SecateurError, match="unknown target 'native'; known: x86-64-v2"):
        named("native")
