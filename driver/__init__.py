"""The interface of a service: the configuration, and `Strongroom`, the cell that the service opens. Also the command line.

Names are imported when they are first used, so that the command line can handle signals before it imports everything.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .config import ConfigError, LocalKms, StrongroomConfig, TransitKms, load_config, write_config
    from .strongroom import Strongroom

__all__ = ["ConfigError", "LocalKms", "Strongroom", "StrongroomConfig", "TransitKms", "load_config", "write_config"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    found: object = getattr(import_module(".strongroom" if name == "Strongroom" else ".config", __name__), name)
    globals()[name] = found
    return found
