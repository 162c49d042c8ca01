"""Runs a node until Ctrl-C: `python -m tests.support.elasticsearch_node`."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

from . import elasticsearch_node

with suppress(KeyboardInterrupt), elasticsearch_node() as node:
    sys.stdout.write(f"{node.url}\nprocess {node.pid}, data in {node.data}, {node.kind}\n")
    sys.stdout.flush()
    signal.pause()
