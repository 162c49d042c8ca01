"""The table of tables in docs/reference/schema.md."""

from __future__ import annotations

from .tables import TABLES


def reference_table() -> str:
    """Return the table of tables, as Markdown."""
    header = "| table | primary key | holds | rights of the driver role | distributed by | purged |\n|---|---|---|---|---|---|\n"
    return header + "".join(
        f"| {table.name} | {', '.join(table.key_names)} | {table.holds} | {table.rights} | "
        f"{table.partition_column or 'no'} | {'yes' if table.is_purged else 'no'} |\n"
        for table in TABLES
    )
