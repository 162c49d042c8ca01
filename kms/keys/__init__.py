"""Keys: the registry's rows, derivation, data keys, and the keys of one namespace."""
