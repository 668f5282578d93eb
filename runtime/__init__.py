"""What a deployed device runs: crops in, embeddings and ranked galleries out. Never imports torch."""
