"""Task queues, their tasks and their user data."""
