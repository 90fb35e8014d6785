"""The command `birthmark-agent`."""
