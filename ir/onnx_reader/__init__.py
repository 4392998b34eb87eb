"""Reads an ONNX model into a graph: static shapes, `nn.` operators, shape arithmetic computed away.

graph = read_model("model.onnx", {"input": (1, 3, 224, 224)})
"""

from .known_inputs import known_inputs
from .reader import NEWEST_OPSET, OLDEST_OPSET, OPERATORS, read_model

__all__ = ["NEWEST_OPSET", "OLDEST_OPSET", "OPERATORS", "known_inputs", "read_model"]
