"""Training images: how they are read, augmented, and drawn into batches."""
