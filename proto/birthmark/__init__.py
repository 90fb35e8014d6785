"""Birthmark's wire protocol."""
