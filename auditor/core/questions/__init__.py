"""What a verified ledger is asked (docs/auditing.md, "Questions"): rules on values."""
