"""What a graph costs, what a device can do, and so what the one takes on the other."""
