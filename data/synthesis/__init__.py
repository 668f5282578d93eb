"""A procedural vehicle data set: low-poly vehicles, seen by surveillance cameras, in VeRi-776's layout."""
