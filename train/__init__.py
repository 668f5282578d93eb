"""PyTorch: the multi-level model, its losses, and the loop that trains it."""
