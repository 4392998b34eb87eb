"""Removing channels: what to remove, by what it costs in time and in importance, and the removal."""
