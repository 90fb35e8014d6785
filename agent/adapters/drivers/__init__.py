"""Drivers: one family of boards each, behind `agent.ports.Driver`."""
