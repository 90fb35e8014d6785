"""What hands results on to the factory: files, a command."""
