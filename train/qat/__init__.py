"""Quantization-aware training: a model learns under the rounding of its own INT8 graph."""
