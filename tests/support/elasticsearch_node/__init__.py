"""A real Elasticsearch node for tests and benchmarks: `with elasticsearch_node() as node: ... node.url`.

Tried in this order: STRONGROOM_ES_URL, a Docker engine, a Java 21 or newer with jars from Maven Central. Elastic publishes
no server that a package manager has, so the last way builds a node from its published parts. It lacks what lives in
modules that are not published: TLS and users, `GET /`, `_delete_by_query`, `_update_by_query`, `_reindex`, Painless, and
the codec `best_compression`. The first run fetches 45 MB; later ones need no network.

`python -m tests.support.elasticsearch_node` runs one until Ctrl-C.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .client import Client, ElasticsearchAnswer
from .docker_node import DockerNode
from .jvm_node import QUICK, JvmNode
from .missing import ElasticsearchMissing
from .node import ElasticsearchNode, ExternalNode, NotOurs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "QUICK",
    "Client",
    "ElasticsearchAnswer",
    "ElasticsearchMissing",
    "ElasticsearchNode",
    "NotOurs",
    "elasticsearch_node",
]

_URL = os.environ.get("STRONGROOM_ES_URL")  # read early: tests run without our own variables


@contextmanager
def elasticsearch_node(
    *, heap: str = "512m", java_options: Sequence[str] = QUICK, own: bool = False
) -> Iterator[ElasticsearchNode]:
    """Start a node, and end it when the block ends or this process dies.

    Args:
        heap: of the Java process.
        java_options: pass () for what is measured; the default starts faster and runs slower.
        own: whether only a node of our own will do, as it is to be killed.

    Yields:
        The node, which answers.

    Raises:
        ElasticsearchMissing: there is no way to have one; the message says why each failed.
    """
    if _URL and not own:
        yield ExternalNode(_URL)
        return
    reasons = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="strongroom-es-")))
        ways: dict[str, Callable[[], ElasticsearchNode]] = {
            "Docker": lambda: DockerNode(heap=heap),
            "Java": lambda: JvmNode(folder, heap=heap, java_options=java_options),
        }
        for name, way in ways.items():
            try:
                node = way()
            except ElasticsearchMissing as missing:
                reasons.append(f"{name}: {missing}")
                continue
            stack.callback(node.close)
            node.start()
            yield node
            return
    raise ElasticsearchMissing("; ".join(["STRONGROOM_ES_URL is not set", *reasons]))
