"""Why there is no node."""

from __future__ import annotations


class ElasticsearchMissing(Exception):  # noqa: N818 - says what is wrong
    """No Elasticsearch can be had on this machine; the message names each way that was tried, and why it failed."""
