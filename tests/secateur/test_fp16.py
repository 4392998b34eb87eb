"""`secateur.compile(precision=Fp16())`: what it refuses before any work."""

from __future__ import annotations

from typing import Any

import pytest

import secateur
from secateur import Fp16, Int8, SecateurError
from tests.passes.half.test_half import network


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("x86-64-v3", {"precision": Fp16()}, "x86-64-v3 has no fast arithmetic on 16-bit floats"),
        ("rpi5", {"precision": "fp16"}, "precision is 'fp16'; give Fp16()"),
        ("rpi5", {"precision": Fp16(), "quantize": Int8("random:1")}, "made int8 or fp16, not both"),
        ("rpi5", {"precision": Fp16(), "pipeline": "canonicalize,fuse"}, "the pipeline has no pass half"),
    ],
)
def test_refusals(target: str, options: dict[str, Any], message: str, tmp_path: Any) -> None:
    with pytest.raises(SecateurError, match=message.replace("(", r"\(").replace(")", r"\)")):
        secateur.compile(network(), tmp_path / "m.so", target, **options)
    assert list(tmp_path.iterdir()) == []


def test_options_check_themselves() -> None:
    with pytest.raises(SecateurError, match="images must be 1 or more, is 0"):
        Fp16(images=0)
    with pytest.raises(SecateurError, match="unknown sums 'f64'"):
        Fp16(sums="f64")  # type: ignore[arg-type]
