"""The interface of a service: the configuration, and `Strongroom`, the cell that the service opens. Also the command line.

Names are imported when they are first used, so that the command line can handle signals before it imports everything.
"""

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than all others of a start
if TYPE_CHECKING:
    from .config import ConfigError, LocalKms, StrongroomConfig, TransitKms, load_config, write_config
    from .strongroom import Strongroom

__all__ = ["ConfigError", "LocalKms", "Strongroom", "StrongroomConfig", "TransitKms", "load_config", "write_config"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    from importlib import import_module  # noqa: PLC0415 - as above

    found: object = getattr(import_module(".strongroom" if name == "Strongroom" else ".config", __name__), name)
    globals()[name] = found
    return found
