"""What touches the world: ports, files, the connection to signerd. Behind `agent.ports`."""
