"""The command line: wiring, and what people and machines read."""
