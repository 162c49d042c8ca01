"""KEKs in the Transit engine of OpenBao and Vault."""
