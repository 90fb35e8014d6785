"""signerd: decides which board gets a certificate, and keeps the ledger of it."""
