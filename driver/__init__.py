"""What a service links in: configuration, the one object that it opens, and the command line."""

from .config.config import ConfigError, StrongroomConfig, load_config, write_config
from .config.kms import LocalKms, TransitKms
from .strongroom import Strongroom

__all__ = ["ConfigError", "LocalKms", "Strongroom", "StrongroomConfig", "TransitKms", "load_config", "write_config"]
