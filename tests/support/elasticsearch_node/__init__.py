"""A real Elasticsearch node for tests and benchmarks: `with elasticsearch_node() as node: ... node.url`.

`tests/support/services` decides how: the address in STRONGROOM_ELASTICSEARCH_URL, a container, or a Java 21 or newer with jars from
Maven Central. Elastic publishes no server as a package, so the last way builds a node from its published parts. It lacks the modules
that are not published: TLS and users, `GET /`, `_delete_by_query`, `_update_by_query`, `_reindex`, Painless, and the codec
`best_compression`. The first run downloads 45 MB; later runs need no network.

`python -m tests.support.elasticsearch_node` runs a node until Ctrl-C.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.services import ELASTICSEARCH, Way, started
from tests.support.services.choice import address_of

from .client import Client, ElasticsearchAnswer
from .docker_node import DockerNode
from .jvm_node import QUICK, JvmNode
from .node import ElasticsearchNode, ExternalNode, NotOurs

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "QUICK",
    "Client",
    "ElasticsearchAnswer",
    "ElasticsearchNode",
    "NotOurs",
    "elasticsearch_node",
]


@contextmanager
def elasticsearch_node(
    *, heap: str = "512m", java_options: Sequence[str] = QUICK, own: bool = False
) -> Iterator[ElasticsearchNode]:
    """Start a node, and end it when the block ends or this process dies.

    Args:
        heap: The memory of the Java process.
        java_options: The options of Java. Pass () for measurements; the default starts faster and runs slower.
        own: Whether the caller needs its own node, because it kills the node.

    Yields:
        The node. It answers requests.

    Raises:
        ServiceMissing: No node can be started. The message has the reasons.
    """

    @contextmanager
    def given() -> Iterator[ElasticsearchNode]:
        yield ExternalNode(address_of(ELASTICSEARCH))

    @contextmanager
    def container() -> Iterator[ElasticsearchNode]:
        with _running(DockerNode(heap=heap)) as node:
            yield node

    @contextmanager
    def local() -> Iterator[ElasticsearchNode]:
        with (
            tempfile.TemporaryDirectory(prefix="strongroom-es-") as folder,
            _running(JvmNode(Path(folder), heap=heap, java_options=java_options)) as node,
        ):
            yield node

    starts = {Way.ADDRESS: given, Way.CONTAINER: container, Way.LOCAL: local}
    with started(ELASTICSEARCH, starts, own=own) as node:
        yield node


@contextmanager
def _running(node: ElasticsearchNode) -> Iterator[ElasticsearchNode]:
    try:
        node.start()
        yield node
    finally:
        node.close()
