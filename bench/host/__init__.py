"""The process of one subject: it opens the model and is timed there. Needs nothing but the standard library and numpy.

So it also runs in a peer's own environment, where the rest of reid is not installed.
"""
