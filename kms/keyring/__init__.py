"""The keyring: unwrapped keys of each namespace, cached within the limits of a policy."""
