"""Configurations for tests: one with every section and setting, and parts of it that the product's loader has read."""

from __future__ import annotations

import tomllib
from copy import deepcopy
from pathlib import Path

from strongroom.driver.config.load import parse_config

MINIMAL = tomllib.loads("""
[cell]
id = "6c1a1c1e-0c0b-4c5f-9f60-0a6f0d1e2f30"
shards = 4
[database]
dsn = "postgresql://strongroom@db.example.com/strongroom"
[kms.local]
type = "local"
keyring = "keyring.json"
""")
SECRETS = (
    "CONFIGURATION_TEST_PASSPHRASE",
    "CONFIGURATION_TEST_TOKEN",
    "CONFIGURATION_TEST_PIN",
    "CONFIGURATION_TEST_KEY",
)
"""The environment variables that `FULL` names."""
FULL = tomllib.loads(f"""
[cell]
id = "6c1a1c1e-0c0b-4c5f-9f60-0a6f0d1e2f30"
shards = 4
region = "eu-central-1"
kms_regions = ["europe-west3"]
kek = "local:cell"
commitment = "{"5c" * 32}"
[database]
dsn = "postgresql://strongroom@db.example.com/strongroom"
insecure = false
distributed = true
connections = 8
[database.tls]
ca_certs = "ca.pem"
certificate = "client.pem"
key = "client.key"
[verification]
hours = 6

[anchor]
bucket = "anchors"
region = "eu-central-1"
prefix = "strongroom/"
retention = "governance"
retention_days = 90
interval_seconds = 60.0
profile = "anchors"
endpoint = "https://s3.example.com"
ca_certs = "ca.pem"
insecure = false
[namespaces]
kek = "local:ns-{{id}}"
shred_after_days = 3
[kms.local]
type = "local"
keyring = "keyring.json"
passphrase_env = "{SECRETS[0]}"
region = "eu-central-1"
[kms.bao]
type = "vault"
address = "https://bao.example.com:8200"
token_env = "{SECRETS[1]}"
mount = "transit"
namespace = "payments"
ca_certs = "ca.pem"
certificate = "client.pem"
insecure = false
region = "eu-central-1"
[kms.agent]
type = "vault"
address = "https://bao.example.com:8200"
token_file = "token"
region = "eu-central-1"
[kms.aws]
type = "aws-kms"
region = "eu-central-1"
profile = "payments"
endpoint = "https://kms.example.com"
ca_certs = "ca.pem"
deletion_days = 7
multi_region = false
insecure = false
[kms.google]
type = "gcp-kms"
key_ring = "projects/acme/locations/europe-west3/keyRings/ring"
protection_level = "hsm"
endpoint = "https://kms.example.com"
ca_certs = "ca.pem"
insecure = false
[kms.azure]
type = "azure-keyvault"
vault_url = "https://acme.managedhsm.azure.net"
algorithm = "A256KW"
ca_certs = "ca.pem"
region = "eu-central-1"
[kms.hsm]
type = "pkcs11"
module = "/usr/lib/module.so"
token = "strongroom"
pin_env = "{SECRETS[2]}"
mechanism = "AES_GCM"
region = "eu-central-1"
[kms.other-hsm]
type = "pkcs11"
module = "/usr/lib/module.so"
token = "strongroom"
pin_file = "pin"
region = "eu-central-1"
[kms.both]
type = "multi"
providers = ["local", "aws"]
policy = "any"
[keys]
soft_ttl_seconds = 60
encrypt_ttl_seconds = 120.5
decrypt_ttl_seconds = 240
max_namespaces = 50000
rotate_after_days = 30
rotate_after_rows = 1000
[audit]
folder = "audit"
[access]
enforce = true
[elasticsearch]
url = "https://es.example.com:9200"
index = "visibility"
api_key_env = "{SECRETS[3]}"
ca_certs = "ca.pem"
certificate = "client.pem"
key = "client.key"
insecure = false
timeout_seconds = 5
deadline_seconds = 20
shards = 3
replicas = 1
refresh_interval_seconds = 2
[serve]
socket = "strongroom.sock"
workers = 4
principal = "temporal-server"
users = ["0", "root"]
max_in_flight = 100
drain_seconds = 10
database_wait_seconds = 60
health = "127.0.0.1:7250"
metrics = "127.0.0.1:9464"
[codec_server]
listen = "10.0.0.1:8443"
certificate = "server.pem"
key = "server.key"
insecure = false
origins = ["https://ui.example.com"]
credentials = true
pass_unsealed = true
max_body_bytes = 1000
max_payloads = 10
payloads_per_second = 10
payloads_at_once = 100
[codec_server.jwt]
keys = "keys.json"
issuer = "https://issuer.example.com"
audience = "codec"
algorithms = ["ES256"]
claim = "groups"
[codec_server.jwt.namespaces]
support = ["payments"]
[codec_server.client_certificates]
authority = "ca.pem"
revoked = "revoked.pem"
[[codec_server.client_certificates.callers]]
subject = {{ commonName = "support-tools" }}
namespaces = ["payments"]
""")
"""Every section, every setting and every type of provider."""
FREE = ({"kms"}, {"codec_server", "jwt", "namespaces"}, {"codec_server", "client_certificates", "callers", "subject"})
"""The sections whose keys are names that a person chooses."""


def parsed(document, folder=Path("/etc/strongroom")):
    """Return the configuration of a document."""
    return parse_config(document, folder=folder, source="strongroom.toml")


def parse_kms(provider_id, section, folder):
    """Return the configuration of one provider. The providers that a section of type multi names are local ones."""
    named = section.get("providers")
    others = dict.fromkeys(named, MINIMAL["kms"]["local"]) if isinstance(named, list) else MINIMAL["kms"]
    return parsed({**MINIMAL, "kms": {**others, provider_id: section}}, folder).kms[provider_id]


def parse_codec_server(section, folder):
    """Return the configuration of a codec server."""
    return parsed({**MINIMAL, "codec_server": section}, folder).codec_server


def settings(node, path=()):
    """Yield the path of each key of a document."""
    within = dict(enumerate(node)) if isinstance(node, list) else node
    for name, value in within.items() if isinstance(within, dict) else ():
        yield (*path, name)
        yield from settings(value, (*path, name))


def known_keys():
    """Return the path of each key of `FULL` that the schema names."""
    named = [path for path in settings(FULL) if isinstance(path[-1], str)]
    return [path for path in named if {step for step in path[:-1] if isinstance(step, str)} not in FREE]


def changed(path, *, name=None, value=None):
    """Return `FULL` with the key at a path renamed, or with another value."""
    document = deepcopy(FULL)
    section = document
    for step in path[:-1]:
        section = section[step]
    if name is not None:
        section[name] = section.pop(path[-1])
    else:
        section[path[-1]] = value
    return document
