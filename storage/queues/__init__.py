"""Message queues: Temporal's `Queue` for namespace replication and its `QueueV2` for dead-letter tasks."""
