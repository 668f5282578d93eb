"""Files in and out: only regular files are read, names stay names, and what is written is whole or absent."""
