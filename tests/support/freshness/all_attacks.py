"""The one list of all attacks on a database that says what it likes."""

from __future__ import annotations

from . import cell_tables, histories, queues, runs, shards, visibility

ATTACKS = tuple(
    attack
    for attacks in (
        histories.ATTACKS,
        *runs.ATTACKS,
        *shards.ATTACKS,
        queues.ATTACKS,
        *visibility.ATTACKS,
        *cell_tables.ATTACKS,
    )
    for attack in attacks
)
REFUSED = tuple(attack for attack in ATTACKS if attack.refusals)
"""The attacks that a read or a write refuses."""
FOUND = tuple(attack for attack in ATTACKS if attack.findings)
"""The attacks that a verification finds."""
