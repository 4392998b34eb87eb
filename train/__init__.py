"""Training: a graph of the IR as a differentiable PyTorch module, and what is done with it.

    from secateur.train.network import Network

    network = Network(secateur.read("resnet20.onnx"))
    ...                                     # any PyTorch optimizer over network.parameters()
    graph = network.graph()                 # the IR again, with what was learned

The modules below this one need PyTorch (`pip install secateur[train]`); nothing outside imports them
unless it trains, so that the package and its commands start without.
"""
