"""The page of port tiles."""
