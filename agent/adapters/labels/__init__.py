"""Labels: laid out once, drawn as PNG, PDF, SVG or ZPL, and put where they belong."""

from agent.adapters.labels.open import open_labels

__all__ = ["open_labels"]
