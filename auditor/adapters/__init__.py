"""What touches gRPC, files and the database of the kept state."""
