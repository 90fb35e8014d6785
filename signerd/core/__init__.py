"""Rules as pure functions: bytes and values in, values or domain errors out."""
