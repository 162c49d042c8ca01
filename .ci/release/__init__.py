"""Builds a release: wheels, source archive, bill of materials and digests. `make wheels` runs it."""
