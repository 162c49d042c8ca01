"""Configuration: the schema, how a TOML file is read, and how a new one is written."""
