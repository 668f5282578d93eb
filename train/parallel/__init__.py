"""Training on one batch with several processes, or in several parts."""
