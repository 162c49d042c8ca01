"""Where token queries are answered: PostgreSQL and Elasticsearch."""
