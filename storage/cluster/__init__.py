"""Rows of the cell itself: clusters, members, Nexus endpoints, queues, access policy, audit checkpoints."""
