"""The state that follows from the log's entries: who may call, what was ordered, who issues, who approves.

Pure: entries in, values out. The database's tables hold the same, and are believed in nothing of it.
"""
