"""Import of exported workflow histories."""
