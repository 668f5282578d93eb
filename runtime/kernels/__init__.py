"""CUDA kernels, and the functions that run them."""
