"""signerd's commands. Each module is one noun; administration goes through the Unix socket to the daemon."""
