"""Which real values a network's tensors take, and the 8-bit ranges chosen for them.

`statistics.stream` streams batches through a graph, `ranges.choose` turns the
histograms into ranges, `ranges.quant_of` a range into a scale and a zero point.
"""
