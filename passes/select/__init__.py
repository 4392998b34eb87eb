"""Selection as an abstract problem, its exact solver, and the frontier between time and memory."""
