"""A model compared with its reference: how far embeddings, rankings and metrics differ, and whether it matters."""
