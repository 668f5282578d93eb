"""Everything that is looked at: single-file HTML pages with their charts and pictures."""
