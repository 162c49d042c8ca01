"""Rows of a deployment: its clusters, the members of each cluster, and its Nexus endpoints."""
