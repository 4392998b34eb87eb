"""What a kernel's warps load of a buffer, as counted in the emulator: bytes of sectors, and bytes wanted."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.codegen.backends.cuda.ptx.modules import build_module
from secateur.codegen.backends.cuda.thread import workspace_stride
from secateur.codegen.cache import kernel_symbol
from secateur.codegen.kernel import Kernel
from secateur.codegen.targets.target import Target

from ...generic_harness import _guarded
from ...simt.emulator import load_telling, stand_in
from .harness import start

Array = NDArray[Any]
SECTOR, WARP = 32, 32  # bytes that memory gives at once; threads whose loads are one access
_ACCESS = np.dtype([("at", "i8"), ("site", "i4"), ("block", "i4"), ("thread", "i4"), ("bytes", "i4")])


@dataclass(frozen=True)
class Loads:
    """`sectors` are bytes of those that each access of a warp touches, `wanted` those that its lanes read."""

    sectors: int
    wanted: int
    accesses: int


def loads(kernel: Kernel, buffers: Sequence[Array], number: int, target: Target) -> Loads:
    """Of buffer `number` among a kernel's pointers."""
    module = build_module(kernel, f"{kernel_symbol(kernel, target)}_telling", target)
    load_telling(module)
    own = np.zeros(max(1, 0 if kernel.threads else kernel.tasks * workspace_stride(kernel)), np.uint8)
    guarded = [_guarded(array)[1] for array in (*buffers, own)]
    start(module.symbol, kernel, guarded)
    place = ctypes.c_void_p()
    count = stand_in().simt_accesses(ctypes.byref(place))
    text = ctypes.string_at(place, count * _ACCESS.itemsize)
    told = np.frombuffer(text, _ACCESS)
    begin = guarded[number].ctypes.data
    return _of(told[(told["at"] >= begin) & (told["at"] < begin + guarded[number].nbytes)])


def _of(told: Array) -> Loads:
    """A thread's loads at one place in the code are turns, and those of a warp in one turn are an access."""
    order = np.lexsort((np.arange(len(told)), told["thread"], told["block"], told["site"]))
    told = told[order]
    same = np.ones(len(told), bool)
    for field in ("site", "block", "thread"):
        same[1:] &= told[field][1:] == told[field][:-1]
    same[:1] = False
    first = np.maximum.accumulate(np.where(same, 0, np.arange(len(told))))
    turn = np.arange(len(told)) - first
    warp = told["thread"] // WARP
    keys = np.stack([told["site"], told["block"], warp, turn], axis=1)
    bytes_ = np.concatenate([np.column_stack([keys, told["at"] + k])[k < told["bytes"]] for k in range(16)])
    sectors = np.column_stack([bytes_[:, :4], bytes_[:, 4] // SECTOR])
    several = (len(np.unique(found, axis=0)) for found in (sectors, bytes_, keys))
    return Loads(SECTOR * next(several), *several)
