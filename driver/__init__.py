"""The interface of a service: the configuration, and `Strongroom`, the cell that the service opens. Also the command line.

Names are imported when they are first used, so that the command line can handle signals before it imports everything, and so that a
name that needs an extra is imported only by a service that uses it.
"""

TYPE_CHECKING = False  # as in `typing`, whose import takes longer than all others of a start
if TYPE_CHECKING:
    from .access import InvalidPolicyChange, PermissionDenied, PolicyAltered, PolicyRolledBack, Session
    from .anchor.errors import AnchorUnavailable
    from .audit import AuditUnavailable
    from .audit.sinks import SinkUnavailable
    from .codec.payload_codec import SealedPayloadCodec
    from .config import (
        AnchorConfig,
        AwsKms,
        AzureKms,
        CodecServerConfig,
        ConfigError,
        ElasticsearchConfig,
        GcpKms,
        LocalKms,
        MultiKms,
        NamespacesConfig,
        Pkcs11Kms,
        ServeConfig,
        StrongroomConfig,
        TransitKms,
        load_config,
        parse_config,
        write_config,
    )
    from .importing.errors import ImportFileError
    from .importing.temporal_history import TemporalPackageMissing
    from .serve.server import Server
    from .strongroom import Strongroom
    from .telemetry.telemetry import Telemetry

_ELSEWHERE = {
    "AnchorUnavailable": ".anchor.errors",
    "AuditUnavailable": ".audit",
    "ImportFileError": ".importing.errors",
    "InvalidPolicyChange": ".access",
    "PermissionDenied": ".access",
    "PolicyAltered": ".access",
    "PolicyRolledBack": ".access",
    "SealedPayloadCodec": ".codec.payload_codec",
    "Server": ".serve.server",
    "Session": ".access",
    "SinkUnavailable": ".audit.sinks",
    "Strongroom": ".strongroom",
    "Telemetry": ".telemetry.telemetry",
    "TemporalPackageMissing": ".importing.temporal_history",
}
"""The module of each name that is not in `config`."""

__all__ = [
    "AnchorConfig",
    "AnchorUnavailable",
    "AuditUnavailable",
    "AwsKms",
    "AzureKms",
    "CodecServerConfig",
    "ConfigError",
    "ElasticsearchConfig",
    "GcpKms",
    "ImportFileError",
    "InvalidPolicyChange",
    "LocalKms",
    "MultiKms",
    "NamespacesConfig",
    "PermissionDenied",
    "Pkcs11Kms",
    "PolicyAltered",
    "PolicyRolledBack",
    "SealedPayloadCodec",
    "ServeConfig",
    "Server",
    "Session",
    "SinkUnavailable",
    "Strongroom",
    "StrongroomConfig",
    "Telemetry",
    "TemporalPackageMissing",
    "TransitKms",
    "load_config",
    "parse_config",
    "write_config",
]

if not TYPE_CHECKING:  # a checker of types would accept any name

    def __getattr__(name: str) -> object:
        if name not in __all__:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        from importlib import import_module  # noqa: PLC0415 - as above

        found: object = getattr(import_module(_ELSEWHERE.get(name, ".config"), __name__), name)
        globals()[name] = found
        return found
