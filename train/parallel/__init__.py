"""One batch computed by several processes, or in several parts."""
