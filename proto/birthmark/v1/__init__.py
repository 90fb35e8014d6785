"""Version 1 of the wire protocol: generated code beside its .proto files."""
