"""Random visibility records and filters, and a namespace that is searched with them."""
