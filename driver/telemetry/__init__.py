"""Metrics and traces through OpenTelemetry."""
