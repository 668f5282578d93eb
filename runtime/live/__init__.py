"""Tracks as cameras see them: embedded while they grow, without ever making a camera wait."""
