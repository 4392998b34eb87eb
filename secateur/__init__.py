"""Secateur: convolutional networks compiled to self-contained artifacts for small boards."""
