"""What a service links in: configuration, the one object that it opens, and the command line."""

from .config import ConfigError, StrongroomConfig, load_config, write_config
from .kms_config import LocalKms, TransitKms
from .strongroom import Strongroom
from .telemetry import OpenTelemetry

__all__ = [
    "ConfigError",
    "LocalKms",
    "OpenTelemetry",
    "Strongroom",
    "StrongroomConfig",
    "TransitKms",
    "load_config",
    "write_config",
]
