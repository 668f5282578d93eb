"""A gallery in LanceDB, embedded in this process, for more entries than fit into memory, with crops if asked."""
