"""The inference engines that the benchmark compares: Secateur and its peers from PyPI.

Each engine is one class that turns an ONNX file into a runner with a given number of threads, in
float32 or, where it has a quantizer, in int8. Nothing is imported before it is needed, so that an
engine that is not installed costs one line in the table and nothing else.
"""

from __future__ import annotations

from secateur.tools.bench.peers.base import Floats, Int8, Peer, PeerError, Runner
from secateur.tools.bench.peers.mnn import Mnn
from secateur.tools.bench.peers.ncnn import Ncnn
from secateur.tools.bench.peers.onnxruntime import OnnxRuntime
from secateur.tools.bench.peers.openvino import OpenVino
from secateur.tools.bench.peers.ours import Artifact, Secateur

__all__ = [
    "ENGINES",
    "PEERS",
    "Artifact",
    "Floats",
    "Int8",
    "OnnxRuntime",
    "Peer",
    "PeerError",
    "Runner",
    "Secateur",
    "engine",
]

_PEERS = (OnnxRuntime(), OpenVino(), Ncnn(), Mnn())
ENGINES: dict[str, Peer] = {p.name: p for p in (Secateur(), *_PEERS, Artifact())}
PEERS = tuple(p.name for p in _PEERS)


def engine(name: str) -> Peer:
    """The engine called `name`; ValueError names the known ones."""
    if name not in ENGINES:
        raise ValueError(f"unknown engine '{name}'; known: {', '.join(ENGINES)}")
    return ENGINES[name]
