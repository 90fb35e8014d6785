"""Alembic migrations of the store's schema; `signerd.adapters.store.database` runs them."""
