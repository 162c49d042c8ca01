"""Connections, transactions, group commit, statements and functions."""
