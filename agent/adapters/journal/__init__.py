"""The station's durable memory, and what is read from it."""
