"""Verification of the graphs that an export makes: each run beside PyTorch, and its layers beside the FP32 graph's."""
