"""The command `birthmark-agent`."""

from agent.adapters.cli.app import main

if __name__ == "__main__":
    main()
