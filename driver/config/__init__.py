"""The configuration of a cell: its schema, how a TOML file is read, and how a new file is written."""

from .anchor import AnchorConfig
from .codec_server import CallerConfig, CertificateConfig, CodecServerConfig, JwtConfig
from .config import StrongroomConfig
from .elasticsearch import ElasticsearchConfig
from .errors import ADD_AUDIT, ConfigError
from .kms import AwsKms, AzureKms, GcpKms, KmsConfig, LocalKms, MultiKms, Pkcs11Kms, TransitKms
from .listen import Listen
from .load import holds_secret, load_config, parse_config, read_document
from .named_files import NamedFile, named_files
from .namespaces import NamespacesConfig
from .pin_file import write_pin
from .serve import ServeConfig
from .template import create_config, new_config, write_config

__all__ = [
    "ADD_AUDIT",
    "AnchorConfig",
    "AwsKms",
    "AzureKms",
    "CallerConfig",
    "CertificateConfig",
    "CodecServerConfig",
    "ConfigError",
    "ElasticsearchConfig",
    "GcpKms",
    "JwtConfig",
    "KmsConfig",
    "Listen",
    "LocalKms",
    "MultiKms",
    "NamedFile",
    "NamespacesConfig",
    "Pkcs11Kms",
    "ServeConfig",
    "StrongroomConfig",
    "TransitKms",
    "create_config",
    "holds_secret",
    "load_config",
    "named_files",
    "new_config",
    "parse_config",
    "read_document",
    "write_config",
    "write_pin",
]
