"""What keeps a measurement from being made."""


class BenchError(Exception):
    """A server or a load did not do what was asked of it; the message says which and shows its output."""


class Missing(Exception):
    """A tool that a case needs is not on this machine; the message says which and where it comes from."""
