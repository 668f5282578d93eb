"""Verification: does a graph answer as PyTorch does, in its embeddings and in what they find? Needs no PyTorch."""
