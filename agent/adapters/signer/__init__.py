"""The connection to signerd, and the stamps that wait for it."""
