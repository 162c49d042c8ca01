"""KMS providers: one package per KMS, and `resilience.py`, which adds timeouts, retries and a circuit breaker to each."""
