"""Pruning methods side by side on one trained network: accuracy at the same multiplications."""
