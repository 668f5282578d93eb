"""What kind of machine this is, read from its files and its driver."""
