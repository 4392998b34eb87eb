"""What LLVM makes of a kernel's text."""

from __future__ import annotations

import re

from secateur.codegen.backends.cpu.objects import assembly_of
from secateur.codegen.program import Module
from secateur.codegen.targets.rows import TARGETS

ROW = TARGETS["rpi4"]
TEXT = f"""
define internal void @k_kernel(ptr noalias %x, ptr noalias %w, i32 %begin, i32 %end) local_unnamed_addr #0 {{
  %sum = add i32 %begin, %end
  store i32 %sum, ptr %x
  ret void
}}
attributes #0 = {{ "target-cpu"="{ROW.cpu.baseline}" }}
"""


def test_a_kernel_is_optimized_once() -> None:
    """In its wrapper it would be, as a function of its own and again as part of that."""
    text = assembly_of(Module("k", b"", {"ll": TEXT}), ROW)
    assert set(re.findall(r"^(\w+):", text, flags=re.M)) == {"k", "k_kernel"}
