"""What all of the store stands on: tables, rows, statements, and the thread that has a connection."""
