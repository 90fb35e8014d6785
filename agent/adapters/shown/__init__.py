"""What shows what the boards do: the table, JSON lines, the page, the file for `status`."""
