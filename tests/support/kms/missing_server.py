"""What a bench raises if its server is not available."""


class MissingServer(Exception):  # noqa: N818 - says what is wrong
    """A server that this machine does not have; the message says how to get it."""
