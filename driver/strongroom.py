"""The open cell: the one object that a service uses."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strongroom.kms import KekRef
from strongroom.storage import (
    MARGIN,
    RegistryWait,
    Reseal,
    VisibilityEpochs,
    VisibilityTruth,
    apply_schema,
    check_cell,
    check_schema,
    claim_cell,
    follow_key_changes,
)
from strongroom.storage.keys.store import providers_in_use
from strongroom.storage.schema.preflight import check_claimable
from strongroom.storage.visibility_rows.marks import IndexMarks
from strongroom.visibility import IndexCopies, IndexRotation, Reconciler, TokenVerifier
from strongroom.visibility.backends.postgres import PostgresIndex

from .access import NotAuthenticated, Session, by_api_key, by_certificate
from .access.authorization import decide
from .anchor.writing import writing
from .assembly import LOCK_TIMEOUT, Cell, assembled
from .audit.events import DENIED, now
from .cell_keys import audit_key, check_cell_keys, first_cell_kek
from .config import ADD_AUDIT, ConfigError
from .freshness import new_writing, read_anchors, read_checkpoints, refuse_older, work_on_rows
from .keyring_files import check_keyring_files, create_keyring_files
from .shredding import Shredding, new_shredding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from strongroom.kms import KeyEventSink, SigningKey
    from strongroom.storage import Migration

    from .access.authorization import Decide
    from .audit import AuditLog, LogSettings
    from .config import StrongroomConfig
    from .telemetry.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Strongroom(Cell):
    """An open cell: `async with Strongroom.open(config) as strongroom: ...`. Its attributes are those of `Cell`."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        config: StrongroomConfig,
        *,
        audit: KeyEventSink | None = None,
        telemetry: Telemetry | None = None,
        log_settings: LogSettings | None = None,
        lock_timeout: float = LOCK_TIMEOUT,
        check_keyrings: bool = True,
        accept_older: bool = False,
    ) -> AsyncIterator[Strongroom]:
        """Open a cell whose database `Strongroom.init` has prepared.

        Args:
            config: The cell's configuration.
            audit: Receives changes of keys and calls of a KMS; None for the audit log.
            telemetry: Metrics and traces (docs/how-to/telemetry.md); None for none.
            log_settings: Deadlines and limits of the audit log; None for the defaults.
            lock_timeout: See `LOCK_TIMEOUT`, in seconds.
            check_keyrings: Whether a local keyring is refused if it is not the copy that made the cell's newest KEKs.
            accept_older: Whether a database that is older than an anchored state is opened, to examine or accept it.

        Raises:
            SchemaMismatch, CellMismatch: The database is of another version of the schema, of another cell, or of another region.
            Unavailable, PoolingNotSupported: The database can't be reached, or not with one session for each connection.
            KeyringFileError, KeyringDiverged: A local keyring can't be used, or is not the copy that made the newest KEKs.
            PinMismatch: The cell's own keys are not the ones that the configuration names.
            OlderThanAnchor, PolicyRolledBack: The database is older than a state that is anchored outside of it.
            AuditUnavailable: The audit log can't be read.
        """
        async with assembled(
            cls, config, key_events=audit, telemetry=telemetry, log_settings=log_settings, lock_timeout=lock_timeout
        ) as strongroom:
            # The first provider has the cell's own KEK. Other providers are checked when a namespace needs them.
            await strongroom.keyring.provider(next(iter(config.kms))).check()
            await strongroom.database.check_sessions()
            await check_schema(strongroom.database)
            await check_cell(strongroom.database, config.cell)
            checkpoints = await read_checkpoints(strongroom)
            await check_cell_keys(strongroom.keyring, config)
            if check_keyrings:
                await check_keyring_files(strongroom.keyring.providers)
            await read_anchors(strongroom, checkpoints)
            await refuse_older(strongroom, accept=accept_older)
            following = follow_key_changes(strongroom.database, strongroom.keyring, strongroom.key_notifications)
            work = [following, *work_on_rows(strongroom)]
            work += [] if telemetry is None else [telemetry.watch()]
            background = [asyncio.create_task(each) for each in work]
            try:
                async with writing(new_writing(strongroom)):
                    yield strongroom
            finally:
                for task in background:
                    task.cancel()
                await asyncio.gather(*background, return_exceptions=True)

    @classmethod
    def unchecked(cls, config: StrongroomConfig) -> AbstractAsyncContextManager[Strongroom]:
        """Open a cell without checking its KMS and its database, to examine or prepare them.

        Args:
            config: The cell's configuration.
        """
        return assembled(cls, config)

    @classmethod
    async def init(cls, config: StrongroomConfig) -> list[Migration]:
        """Prepare keyring and database, or bring them up to date. Doing it again changes nothing.

        Returns:
            The migrations that were run.
        """
        async with assembled(cls, config) as strongroom:
            await check_claimable(strongroom.database, config.cell)
            steps = await apply_schema(strongroom.database)
            await claim_cell(strongroom.database, config.cell)
            in_use = await providers_in_use(strongroom.database)
            await create_keyring_files(strongroom.keyring.providers, in_use)
            if config.cell_commitment is None:  # pinned keys that are lost are never replaced
                given = config.cell_kek
                kek = KekRef.parse(given) if given else await strongroom.create_kek(first_cell_kek(config))
                await strongroom.namespaces.ensure_cell_keys(kek)
            await read_checkpoints(strongroom)
            await check_cell_keys(strongroom.keyring, config)
            return steps

    def needed_audit(self, why: str = "there is no audit log") -> AuditLog:
        """Return the audit log.

        Args:
            why: The beginning of the error's message.

        Raises:
            ConfigError: There is no audit log.
        """
        if self.audit is None:
            msg = f"{why}; {ADD_AUDIT}"
            raise ConfigError(msg)
        return self.audit

    async def audit_key(self) -> SigningKey:
        """Return the key that signs the cell's audit logs.

        Raises:
            KmsError, StorageError: The cell's own keys can't be opened.
        """
        return await audit_key(self.keyring)

    def session(
        self, principal: str, *, credential: str = "service", source: str | None = None, decide: Decide = decide
    ) -> Session:
        """Return the stores as a caller may use them: each call is authorised and audited.

        Args:
            principal: The caller's name. The service vouches for it; see `authenticated` for API keys and certificates.
            credential: How the caller authenticated, for the audit log.
            source: Where the caller calls from, for the audit log.
            decide: Decides whether an operation is allowed; the command line replaces it in a cell without a policy.

        Raises:
            ConfigError: There is no audit log.
        """
        return Session(
            self.bare_stores(),
            self.access,
            self.keyring,
            self.needed_audit("sessions need an audit log"),
            principal=principal,
            credential=credential,
            source=source,
            decide=decide,
            outermost=() if self.telemetry is None else (self.telemetry.session_calls,),
        )

    async def authenticated(
        self, *, api_key: str | None = None, certificate: str | None = None, source: str | None = None
    ) -> Session:
        """Return a session for a caller with an API key or a certificate. A refusal is recorded in the audit log.

        Args:
            api_key: The caller's API key.
            certificate: The subject of the caller's certificate, in the form of RFC 4514. The service has verified it.
            source: Where the caller calls from, for the audit log.

        Raises:
            NotAuthenticated: No principal has the key or certificate, or the key has expired or was revoked.
            ConfigError: There is no audit log.
        """
        policy = await self.access.policy()
        try:
            if api_key is not None:
                principal, key_id = by_api_key(policy, api_key, now=self.access.now())
                return self.session(principal, credential=f"api-key:{key_id}", source=source)
            return self.session(by_certificate(policy, certificate or ""), credential="certificate", source=source)
        except NotAuthenticated:
            if self.audit is not None:
                credential = "certificate" if api_key is None else "api-key"
                fields = {"event": DENIED, "at": now(), "credential": credential, "reason": "not authenticated"}
                await self.audit.record(fields if source is None else {**fields, "source": source})
            raise

    def index_rotation(self, *, wait: float | None = None) -> IndexRotation:
        """Return the rotation of index keys.

        Args:
            wait: Seconds after which every process has read the registry again; None for the configuration's value.
        """
        return IndexRotation(
            self._records(),
            self.keyring,
            index=self.search_index or PostgresIndex(self.database),
            indexer=self.indexer,
            wait=self._registry_wait(wait),
        )

    def shredding(self) -> Shredding:
        """Return the shredding of namespaces, with a grace period and a certificate."""
        return new_shredding(self.config, self.database, self.keyring, self.journal.journal, self.search_index)

    def reseal(self, *, wait: float | None = None) -> Reseal:
        """Return the job that seals old rows with the active data key, and finds out when a data key is no longer used.

        Args:
            wait: As for `index_rotation`.
        """
        return Reseal(
            self.by_key,
            self.keyring,
            self.journal.journal,
            copies=self._copies(),
            wait=self._registry_wait(wait),
            distributed=self.config.cell.distributed,
        )

    def token_verifier(self) -> TokenVerifier:
        """Return the job that compares the tokens of records with their sealed values."""
        verifier = TokenVerifier(self._records(), self.keyring)
        return verifier if self.telemetry is None else self.telemetry.token_verifier(verifier)

    def reconciler(self) -> Reconciler:
        """Return the job that compares the search index with the records.

        Raises:
            ConfigError: There is no search index.
        """
        if self.search_index is None or self.indexer is None:
            msg = "no search index is configured"
            raise ConfigError(msg)
        marks = (IndexMarks(self.database), self.search_index)
        reconciler = Reconciler(VisibilityTruth(self.database), self.search_index, self.indexer, marks=marks)
        return reconciler if self.telemetry is None else self.telemetry.reconciler(reconciler)

    async def create_kek(self, kek: KekRef) -> KekRef:
        """Create a KEK; an existing one is left unchanged.

        Args:
            kek: The provider, and the KEK's name.

        Returns:
            The KEK's reference. A KMS that gives ids itself uses the name as a label.

        Raises:
            KmsError: There is no such provider, or it can't create keys, or creates them in another region than the cell's.
            KeyringFileError: A local keyring can't be written.
        """
        return await self.keyring.provider_of(kek).create_kek(kek.key_id)

    def _copies(self) -> IndexCopies | None:
        if self.search_index is None or self.indexer is None:
            return None
        return IndexCopies(self.search_index, VisibilityTruth(self.database), self.indexer)

    def _records(self) -> VisibilityEpochs:
        return VisibilityEpochs(self.database, self.journal.journal, outbox=self.search_index is not None)

    def _registry_wait(self, seconds: float | None) -> RegistryWait:
        """Return the wait until every process has read the key registry again; `seconds` replaces the configured wait."""
        return RegistryWait(self.config.cache.encrypt_ttl + MARGIN if seconds is None else seconds)
