"""The C runtime that goes into artifacts, and the Python session that loads and runs them."""
