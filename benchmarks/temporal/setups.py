"""What is compared: a setup of the sealed cell, and the plain server that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.elasticsearch_node import elasticsearch_node

from .sides import plain_side, sealed_side

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

    from .sides import Side


@dataclass(frozen=True, slots=True)
class Setup:
    """A setup.

    Attributes:
        workers: The number of worker processes of `strongroom serve`.
        elasticsearch: Whether both servers have their visibility in Elasticsearch, in one node. PostgreSQL has it if not.
        share: The share of the rounds that are measured of this setup.
    """

    workers: int = 1
    elasticsearch: bool = False
    share: float = 1.0


SETUPS = {
    "postgres": Setup(),
    "two-workers": Setup(workers=2, share=0.5),
    "elasticsearch": Setup(elasticsearch=True, share=0.5),
}
"""The setups by name. The first one has the most rounds, because the targets are about it."""


def start(stack: ExitStack, folder: Path, setup: Setup, *, shards: int, audit: bool) -> tuple[Side, Side]:
    """Start both servers of a setup.

    Args:
        stack: Stops everything at its end.
        folder: A new folder for both.
        setup: The setup.
        shards: The number of shards of both.
        audit: Whether the cell has an audit log.

    Raises:
        ServiceMissing: There is no Elasticsearch. The message has the reasons.
    """
    # The options that the tests give Java make it start faster and run slower.
    node = stack.enter_context(elasticsearch_node(java_options=(), own=True)) if setup.elasticsearch else None
    sides = (
        sealed_side(
            stack,
            folder / "sealed",
            shards=shards,
            workers=setup.workers,
            audit=audit,
            elasticsearch=node and node.url,
        ),
        plain_side(stack, folder / "plain", shards=shards, elasticsearch=node and node.url),
    )
    if node is not None and node.pid is not None:
        for side in sides:
            side.groups["elasticsearch"] = [node.pid]
    return sides
