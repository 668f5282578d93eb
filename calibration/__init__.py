"""Ranges and sensitivity of a graph's tensors, for INT8; nothing here yet. Never imports torch."""
