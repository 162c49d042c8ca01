"""KMS providers, one folder each."""
