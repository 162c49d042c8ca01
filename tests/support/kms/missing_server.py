"""The error of a bench whose server is not available."""


class MissingServer(Exception):  # noqa: N818 - the name says what is wrong
    """A server is not installed on this machine. The message has instructions to install it."""
