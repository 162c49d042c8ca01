"""Writes the generated pages of docs/reference from the code. `make reference` runs it."""
