"""The command `birthmark-agent`."""

import sys

if sys.platform == "win32" and sys.argv[1:3] == ["service", "host"]:
    # Windows' service manager wants an answer within 30 s, so little is loaded before it.
    from agent.adapters.service.host import main
else:
    from agent.adapters.cli.app import main

if __name__ == "__main__":
    main()
