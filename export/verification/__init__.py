"""Verification: whether a graph answers as PyTorch does, in embeddings and metrics, and where it does not."""
