"""The ledger in the database, from its start to what is published of it."""
