"""The station as a service of Windows: its place with the service manager, and the process that it starts."""
