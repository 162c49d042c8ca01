"""The schema: one descriptor per table, migrations, row-level-security policies, the driver role, distribution over Citus."""
