"""The station: takes boards on serial lines through their recipe. It makes no key of a board."""

import logging
import os

# gRPC's C core reads it when it is loaded, which is later than this. Without it, each failed TLS handshake is
# a raw line on standard error, across the table of boards, or whatever a program shows that uses the station
# as a library. Who sets it, or loads gRPC before, has chosen for themselves.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
# gRPC's own resolver asks a name server also for a name that this PC knows, and knows no names of Windows.
os.environ.setdefault("GRPC_DNS_RESOLVER", "native")

# Who uses the station as a library decides what is logged where. By default nothing goes to the terminal.
logging.getLogger(__name__).addHandler(logging.NullHandler())
