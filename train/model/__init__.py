"""The model: a backbone, its levels, and the checkpoint that stores them."""
