"""Birthmark's wire protocol (`v1`), and the verifier of what its log publishes (`proof`)."""
