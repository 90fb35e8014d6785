"""The command `birthmark-agent`."""

import os
import sys

# gRPC's C core reads it when it is loaded. Without it, each failed TLS handshake is a raw line on standard
# error, across the table of boards.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

if sys.platform == "win32" and sys.argv[1:3] == ["service", "host"]:
    # Windows' service manager wants an answer within 30 s, so little is loaded before it.
    from agent.adapters.service.host import main
else:
    from agent.adapters.cli.app import main

if __name__ == "__main__":
    main()
