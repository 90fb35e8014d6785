"""The line to signerd, and the stamps that wait for it."""
