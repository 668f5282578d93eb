"""What a turn cost and what disturbed it, read from the operating system and the devices beside the timed process."""
