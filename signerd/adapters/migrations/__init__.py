"""Alembic migrations of the store's schema; `signerd.adapters.store.database` runs them."""

# The newest revision. The daemon compares with it, so that it need not load Alembic (11 MB) to start.
HEAD = "0003"
EARLIER = ("0001", "0002")  # what `signerd database upgrade` upgrades, oldest first
