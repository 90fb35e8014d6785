"""`signerd database verify` and `rebuild`: the whole database beside the log."""
