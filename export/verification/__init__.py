"""The gate: does a graph answer as PyTorch does, on embeddings and on retrieval metrics, and where does it not?"""
