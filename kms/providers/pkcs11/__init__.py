"""KEKs in a PKCS#11 token."""
