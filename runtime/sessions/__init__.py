"""Backends that run a model, one file per backend."""
