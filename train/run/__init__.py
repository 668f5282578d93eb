"""The folder of a run: its state, and what is needed to repeat it."""
