"""What queries are ranked against: galleries, the ranking itself, and the ranked lists that result."""
