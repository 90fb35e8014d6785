"""Durable state of signerd: records, registry and ledger."""

from signerd.adapters.store.sqlstore import SqlStore, check_database, create_database, open_log

__all__ = ["SqlStore", "check_database", "create_database", "open_log"]
