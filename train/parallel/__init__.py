"""One batch over several processes, or in several parts."""
