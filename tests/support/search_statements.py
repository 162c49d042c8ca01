"""The statements that searches in PostgreSQL send, and what PostgreSQL reads for them."""

from __future__ import annotations

import json

from strongroom.visibility.backends import postgres


class Noted:
    """A connection that notes the statements that are sent."""

    def __init__(self, connection, sent):
        self._connection, self._sent = connection, sent

    async def fetch(self, statement, *parameters):
        """Note a statement, and run it."""
        self._sent.append((statement, parameters))
        return await self._connection.fetch(statement, *parameters)

    async def fetchrow(self, statement, *parameters):
        """Note a statement, and run it."""
        self._sent.append((statement, parameters))
        return await self._connection.fetchrow(statement, *parameters)


def noted_searches(monkeypatch):
    """Return a list to which every search adds its statements and their parameters."""
    made, sent = postgres.PostgresReader.__init__, []

    def noting(self, connection, *arguments, **options):
        made(self, Noted(connection, sent), *arguments, **options)

    monkeypatch.setattr(postgres.PostgresReader, "__init__", noting)
    return sent


async def plan_of(strongroom, namespace_id, statement, parameters):
    """Run a search's statement as the service, and return its plan and the number of blocks that it read.

    The owner of the tables would find nothing in the view, which shows the namespace of the session.
    """
    async with strongroom.database.connection(namespace_id) as connection:
        (row,) = await connection.fetch(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", *parameters)
    plan = json.loads(row[0])[0]["Plan"]
    return plan, plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def indexes_of(plan):
    """Return the names of the indexes of a plan."""
    found = {plan["Index Name"]} if "Index Name" in plan else set()
    return found.union(*map(indexes_of, plan.get("Plans", [])))


def rows_read(plan):
    """Return the number of records that a plan has read, with those that it left out."""
    read = sum(map(rows_read, plan.get("Plans", [])))
    if plan.get("Relation Name") != "visibility_records":
        return read
    each = sum(plan.get(name, 0) for name in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Index Recheck"))
    return read + each * plan["Actual Loops"]
