"""Data sets: their layouts on disk, how they are read and split, what is wrong with them, and rendered vehicles."""
