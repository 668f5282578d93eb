"""Conversion between layouts: what a data set holds, what a target calls it, and what the target cannot hold."""
