"""Metrics and traces through OpenTelemetry.

Nothing is exported here, because `telemetry.Telemetry` needs OpenTelemetry's API, which is an extra. Read in this order:
`telemetry.py` (takes all reports), `instruments.py` and `attributes.py` (the closed lists), `emitter.py` (writes metrics and
spans), `interceptors.py` (calls of stores), `watches.py` (connections and keys), `gauges.py` (values that are read).
"""
