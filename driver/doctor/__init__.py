"""`strongroom doctor`: checks of a cell, and advice for each finding."""

from .doctor import examine
from .report import Finding, summary

__all__ = ["Finding", "examine", "summary"]
