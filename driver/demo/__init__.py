"""`strongroom demo`: a demonstration on real histories that checks each of its claims."""

from .demo import run_demo, stop_demo
from .terminal import Terminal

__all__ = ["Terminal", "run_demo", "stop_demo"]
