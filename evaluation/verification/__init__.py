"""A model beside its reference: how far apart embeddings, rankings and metrics are, and whether that is tolerable."""
