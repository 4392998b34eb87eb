"""Cost tables: kernels timed on this machine or on a board, and what compilation makes of the times."""
