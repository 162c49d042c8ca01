"""The interface of a service: the configuration, and `Strongroom`, the cell that the service opens. Also the command line."""

from .config import ConfigError, LocalKms, StrongroomConfig, TransitKms, load_config, write_config
from .strongroom import Strongroom

__all__ = ["ConfigError", "LocalKms", "Strongroom", "StrongroomConfig", "TransitKms", "load_config", "write_config"]
