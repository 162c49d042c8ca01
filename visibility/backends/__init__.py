"""The search indices that answer token queries: PostgreSQL and Elasticsearch, behind the `SearchIndex` protocol."""
