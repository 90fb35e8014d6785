"""Writes and reads production files."""
