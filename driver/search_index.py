"""The search index of a configuration. Its client is in an extra of its own, and is imported only if it is configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .config import ConfigError

if TYPE_CHECKING:
    from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex

    from .config import StrongroomConfig


def new_search_index(config: StrongroomConfig) -> ElasticsearchIndex | None:
    """Return the search index of a configuration; None if PostgreSQL answers searches. No connection is opened yet.

    Raises:
        ConfigError: Its client is not installed.
    """
    cluster = config.elasticsearch
    if cluster is None:
        return None
    try:
        from strongroom.visibility.backends.elasticsearch import ElasticsearchIndex  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        msg = "[elasticsearch] needs its client: pip install 'strongroom[elasticsearch]'"
        raise ConfigError(msg) from None
    return ElasticsearchIndex(
        cluster.urls,
        name=cluster.index,
        timeout=cluster.timeout,
        deadline=cluster.deadline,
        api_key=cluster.api_key,
        tls=cluster.tls,
        insecure=cluster.insecure,
    )
