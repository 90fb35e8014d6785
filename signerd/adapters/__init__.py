"""Everything of signerd that names a vendor, a protocol or a file."""
