"""Alembic migrations of the store's schema; `signerd.adapters.store.tables.database` runs them."""

# The newest revision. The daemon compares with it, so that it need not load Alembic (11 MB) to start.
HEAD = "0016"
# What `signerd database upgrade` upgrades, oldest first.
EARLIER = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
)
