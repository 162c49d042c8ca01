"""List, count and group runs: compile a filter into two token queries, ask a search index, open and evaluate documents."""
