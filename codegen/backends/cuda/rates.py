"""How many words a multiprocessor multiplies a cycle."""

from __future__ import annotations

from ...targets.target import Target

_PLAIN_DOT = 4.0  # multiply-adds and shifts of four bytes, where there is no instruction for them


def word_rate(target: Target, element_bytes: int) -> float:
    """Of one float, of two of 16 bits, or of four bytes."""
    gpu = target.gpu
    if element_bytes == 2:
        return float(gpu.half2)
    if element_bytes == 4:
        return float(gpu.fma)
    return gpu.dot or gpu.fma / _PLAIN_DOT


def most_sums(target: Target, element_bytes: int) -> int:
    """That a thread has registers for: bytes that are multiplied one by one take some."""
    return 64 if element_bytes != 1 or target.cuda.architecture.dot else 32


def matrix_rate(target: Target, element_bytes: int) -> float:
    """Words of four bytes that matrix instructions multiply; 0 where there are none."""
    return target.gpu.matrix / 4 if element_bytes == 1 and target.cuda.architecture.matrix else 0.0
