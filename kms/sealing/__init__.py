"""The sealed format (FORMAT.md): headers, packing, nonces, ciphers and tokens."""
