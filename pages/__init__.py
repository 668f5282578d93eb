"""Everything that people look at: single-file HTML pages with their charts and pictures."""
