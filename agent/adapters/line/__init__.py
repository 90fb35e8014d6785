"""The ports of the station, and the boards that come and go on them."""
