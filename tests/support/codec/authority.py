"""A certificate authority for tests that signs certificates for servers and clients, and revokes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.support.kms.own_ca import _builder, _general_name, _name, _usage

OIDS = {"commonName": NameOID.COMMON_NAME, "organizationName": NameOID.ORGANIZATION_NAME}


class Authority:
    """Writes PEM files into a folder. `certificate` is the authority's own."""

    def __init__(self, folder, name):
        self._folder = folder
        self._name = _name(name)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = folder / f"{name}.pem"
        made = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def server(self, *names, file="server", until=None):
        """Return a file with a server's certificate and key."""
        return self._sign(
            file,
            _name("server of a test"),
            ExtendedKeyUsageOID.SERVER_AUTH,
            [_general_name(each) for each in names],
            until,
        )[0]

    def self_signed(self, *names, file):
        """Return a file with a self-signed certificate for a server, and its key."""
        made = (
            _builder(self._name, self._name, self._key)
            .add_extension(x509.SubjectAlternativeName([_general_name(each) for each in names]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return self._write(file, made, self._key)

    def client(self, file, *subject, until=None):
        """Return the file with a client's certificate and key, and the certificate itself."""
        name = x509.Name([x509.NameAttribute(OIDS[kind], value) for kind, value in subject])
        return self._sign(file, name, ExtendedKeyUsageOID.CLIENT_AUTH, [], until)

    def revoke(self, *certificates, until=None):
        """Return a file with a revocation list."""
        now = datetime.now(UTC)
        listed = x509.CertificateRevocationListBuilder(
            self._name, now - timedelta(days=1), until or now + timedelta(days=1), []
        )
        for each in certificates:
            entry = x509.RevokedCertificateBuilder().serial_number(each.serial_number).revocation_date(now).build()
            listed = listed.add_revoked_certificate(entry)
        path = self._folder / "crl.pem"
        path.write_bytes(listed.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    def _sign(self, file, subject, usage, names, until):
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(subject, self._name, key, until)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        made = builder.sign(self._key, hashes.SHA256())
        return self._write(file, made, key), made

    def _write(self, file, certificate, key):
        path = self._folder / f"{file}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        path.chmod(0o600)
        return path
