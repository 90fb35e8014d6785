"""What touches the world: ports, files, the line to signerd. Behind `agent.ports`."""
