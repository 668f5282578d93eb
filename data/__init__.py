"""Data sets: what they look like on disk, how they are read and split, and what is wrong with them."""
