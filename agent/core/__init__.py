"""The rules of a station, pure: bytes and values in, values or errors out."""
