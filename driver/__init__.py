"""What a service links in: configuration, the one object that it opens, and the command line."""

from .config import ConfigError, LocalKms, StrongroomConfig, TransitKms, load_config, write_config
from .strongroom import Strongroom

__all__ = ["ConfigError", "LocalKms", "Strongroom", "StrongroomConfig", "TransitKms", "load_config", "write_config"]
