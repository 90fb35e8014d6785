"""What must hold of a station: `doctor` looks at all of it, and a start refuses by the same words."""
