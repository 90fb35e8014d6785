"""What follows from the log, and rows held against it."""
