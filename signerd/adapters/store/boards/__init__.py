"""Boards from their place to their stamp, and back: intents, certificates, chips, revocations."""
