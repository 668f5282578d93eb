"""What users would take instead of our sessions, each in its most ordinary fast way."""
