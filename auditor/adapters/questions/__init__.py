"""Questions to the kept state, by SQL alone: nothing is asked of signerd, and nothing is changed."""
