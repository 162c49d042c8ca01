"""KEKs in a local keyring file."""
