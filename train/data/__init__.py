"""Training images and batches."""
