"""Lists and counts: the two-sided compiler, exact evaluation, order and pages."""
