"""The principals of the tests' policies."""

from __future__ import annotations

from datetime import UTC, datetime

from strongroom.driver.access import changes

OWNER = "owner@example.com"


async def bound(cell, name, *roles):
    """Add a principal with roles. A role is a name with a namespace id, or with None for the whole cell."""
    at = datetime.now(UTC)

    def edit(policy):
        policy = changes.add_principal(policy, name, by=OWNER, now=at)
        for role, namespace_id in roles:
            policy = changes.bind(policy, name, role, namespace_id=namespace_id, by=OWNER, now=at)
        return policy

    await cell.access.change(edit)
    return name


def records(cell):
    """Return the records of a cell's audit log."""
    import orjson  # noqa: PLC0415

    from strongroom.driver.audit.reader import read_lines  # noqa: PLC0415

    return [orjson.loads(line) for line in read_lines(cell.audit.root)]
