"""`strongroom demo`: a demonstration on real histories that checks each of its claims.

For tests and examples of a service: a throw-away PostgreSQL, and a scan of its files for plaintext.
"""

from .demo import run_demo, stop_demo
from .embedded_postgres import EmbeddedPostgresMissing, create_plain_database, embedded_postgres
from .leak_scan import LeakReport, scan
from .terminal import Terminal

__all__ = [
    "EmbeddedPostgresMissing",
    "LeakReport",
    "Terminal",
    "create_plain_database",
    "embedded_postgres",
    "run_demo",
    "scan",
    "stop_demo",
]
