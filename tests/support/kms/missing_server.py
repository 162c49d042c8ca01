"""What a bench raises where its server is not to be had."""


class MissingServer(Exception):  # noqa: N818 - says what is wrong
    """A server that this machine does not have; the message says how to get it."""
