"""Our own gallery: a folder of append-only segments and a manifest, which a kill cannot hurt."""
