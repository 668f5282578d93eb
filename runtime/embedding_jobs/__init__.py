"""Embedding on several machines: tracklets in parts, each of which any worker embeds and writes to a file, once."""
