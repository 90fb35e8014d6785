"""What the station writes down for whoever looks into it later: its log, and the dialogue of one port."""
