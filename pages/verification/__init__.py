"""The page that shows a verification."""
