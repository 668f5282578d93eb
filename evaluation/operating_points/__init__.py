"""Thresholds at stated false-match rates: what they are, how sure, and whether another precision keeps them."""
