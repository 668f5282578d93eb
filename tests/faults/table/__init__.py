"""Bad inputs, a row each: what is typed, what it meets, what has to be said, and how it has to end."""
