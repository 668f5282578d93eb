"""The model: a backbone, its levels, and what is kept of it."""
