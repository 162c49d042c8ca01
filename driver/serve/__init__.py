"""The server for a Temporal server: a cell's stores over a Unix socket. temporal/PROTOCOL.md is the protocol."""
