"""What TVM makes beside a kernel."""

from __future__ import annotations

import re

import pytest

from secateur.codegen import tvm_lowering
from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.rows import TARGETS
from secateur.codegen.tir import T, prim_func

HALVES = ("__truncsfhf2", "__extendhfsf2")


def _copy() -> object:
    return prim_func(["a", "b"], lambda a, b, _w, begin, _end: T.buffer_store(b, a[begin], [begin]))


@pytest.mark.parametrize("name", ["x86-64-v3", "armv7-a+neon"])
def test_conversions_that_are_left_out_are_not_optimized(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """That took as long as a small kernel. The kernel itself is: its arguments are known not to alias."""
    plain, whole = tvm_lowering._plain, [""]

    def kept(text: str, name: str) -> str:
        whole[0] = text
        return plain(text, name)

    monkeypatch.setattr(tvm_lowering, "_plain", kept)
    kernel = Kernel("copy", (), _copy, 1)
    left = tvm_lowering.lower(kernel, "k", TARGETS[name])
    attributes = dict(re.findall(r"^attributes (#\d+) = (.*)$", whole[0], flags=re.M))
    for function in HALVES:
        (number,) = re.findall(rf"^define .*@{function}\(.*(#\d+)", whole[0], flags=re.M)
        assert "optnone" in attributes[number]
        assert function not in left
    assert "optnone" not in left
    assert "captures(none)" in left  # what LLVM found out of the kernel
