"""What users would take instead of our sessions."""
