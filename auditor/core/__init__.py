"""Pure verification: bytes and values in, values or `Malformed` and `CheckFailed` out."""
