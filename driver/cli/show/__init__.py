"""What the command line prints: tables, histories, reports."""
