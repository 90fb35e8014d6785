"""The command `birthmark-agent`."""

import os

# gRPC's C core reads it when it is loaded. Without it, each failed TLS handshake is a raw line on standard
# error, across the table of boards.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from agent.adapters.cli.app import main

if __name__ == "__main__":
    main()
