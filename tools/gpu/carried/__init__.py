"""The half of gpu-check that runs where the GPU is: Python, NumPy and the driver, and nothing else of ours.

python -m carried FOLDER [--seconds 480] [--no-peers]
"""
