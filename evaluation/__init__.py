"""Retrieval quality: protocols, metrics, re-ranking, and the comparison of a model with its reference."""
