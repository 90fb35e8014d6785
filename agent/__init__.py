"""The station: takes boards on serial lines through their recipe. It makes no key of a board."""

import logging

# Who uses the station as a library decides what is logged where. By default nothing goes to the terminal.
logging.getLogger(__name__).addHandler(logging.NullHandler())
