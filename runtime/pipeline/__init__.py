"""From frames to embeddings: frames of many tracks fill batch after batch, while the batch before is computed."""
