"""The valid and invalid TLS settings that a server can present to a client, in one table."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from strongroom.kms import TlsFiles
from tests.support.codec.authority import Authority

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Case:
    """The TLS settings of a server.

    Attributes:
        certificate: The name of the certificate's file.
        newest: The newest TLS version that the server supports; None for no TLS.
        asks: Whether clients need a certificate.
    """

    certificate: str = "right"
    newest: ssl.TLSVersion | None = ssl.TLSVersion.TLSv1_3
    asks: bool = False


RIGHT = Case()
ASKS = Case(asks=True)
OTHER = Case("of-another")
REFUSED = {
    "TLS 1.2 only": Case(newest=ssl.TLSVersion.TLSv1_2),
    "expired": Case("expired"),
    "wrong CA": OTHER,
    "wrong host name": Case("elsewhere"),
    "self-signed": Case("self-signed"),
    "without TLS": Case(newest=None),
}
ALL = {"right": RIGHT, "asks for a certificate": ASKS, **REFUSED}


class Files:
    """Certificates for servers and clients, signed by two authorities."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ours, self.others = Authority(folder, "authority"), Authority(folder, "another")
        self.ours.server(HOST, "localhost", file="right")
        self.ours.server(HOST, file="expired", until=datetime.now(UTC) - timedelta(minutes=1))
        self.ours.server("elsewhere.test", file="elsewhere")
        self.others.server(HOST, file="of-another")
        Authority(folder, "lonely").self_signed(HOST, file="self-signed")
        self.client, self.stranger = (
            authority.client(name, ("commonName", "postgres"))[0]
            for authority, name in ((self.ours, "client"), (self.others, "stranger"))
        )

    def path(self, case: Case) -> Path:
        """Return the file with a server's certificate and key."""
        return self.folder / f"{case.certificate}.pem"

    def trusted(self, certificate: Path | None = None) -> TlsFiles:
        """Return the TLS settings of a client that trusts our authority."""
        return TlsFiles(self.ours.certificate, certificate)

    def server_context(self, case: Case) -> ssl.SSLContext | None:
        """Return the TLS context of a server in this process."""
        if case.newest is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = case.newest
        context.load_cert_chain(self.path(case))
        if case.asks:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.ours.certificate)
        return context
