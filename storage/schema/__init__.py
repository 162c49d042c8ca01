"""The schema: migrations, the driver role, distribution over Citus."""
