"""The error of a configuration that can't be used."""

from __future__ import annotations

from strongroom.kms import StrongroomError

ADD_AUDIT = 'add [audit] with folder = "audit" to the configuration'
"""Advice for a cell that needs an audit log and has none."""


class ConfigError(StrongroomError):
    """The configuration can't be used."""
