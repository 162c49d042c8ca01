"""The stores as the Temporal server may use them: through sessions of its principal, or the plain stores without an audit log."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from strongroom.driver.access import by_api_key
from strongroom.driver.access.authorization import Decision, decide
from strongroom.driver.config import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from strongroom.driver.access.policy import Policy
    from strongroom.driver.operations import Operation
    from strongroom.driver.strongroom import Strongroom

PRINCIPAL = "temporal-server"
"""The principal of a server whose configuration names none."""
SOURCES = 256
"""Number of sessions that are kept. Each has another source, which the audit log records."""
CALLERS = 16_384
"""Number of callers whose source is kept."""
_WORD = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SYSTEM = re.compile(r"system|temporal-[a-z-]{1,32}")


class Callers:
    """The stores by the caller that Temporal names.

    Args:
        open_session: Returns the stores for a source; None if there is no audit log.
        plain: The stores without a session.
    """

    def __init__(self, open_session: Callable[[str], Any] | None, plain: Any) -> None:
        self._open_session, self._plain = open_session, plain
        # A cell may have thousands of namespaces, whose names are part of the caller. Few sources come of them.
        self._source_of = lru_cache(CALLERS)(source_of)
        self._sessions: dict[str, Any] = {}

    def stores_for(self, caller: str) -> Any:
        """Return the object whose attributes are the stores.

        Args:
            caller: Temporal's caller, `type/name/origin`.
        """
        if self._open_session is None:
            return self._plain
        source = self._source_of(caller)
        session = self._sessions.get(source)
        if session is None:
            if len(self._sessions) >= SOURCES:
                del self._sessions[next(iter(self._sessions))]
            session = self._sessions[source] = self._open_session(source)
        return session


def source_of(caller: str) -> str:
    """Return the source for the audit log: the type and the origin of the call.

    The name is most often that of a namespace, which a tenant wrote. The record has the namespace's id. Only the names of Temporal's
    own callers are kept.
    """
    kind, _, rest = caller.partition("/")
    name, _, origin = rest.rpartition("/")
    words = ["temporal", kind, *([name] if _SYSTEM.fullmatch(name) else []), origin]
    return "/".join(word for word in words if _WORD.fullmatch(word))


async def callers_of(strongroom: Strongroom, principal: str | None, api_key: str | None) -> Callers:
    """Return the callers of a cell.

    Args:
        strongroom: The open cell.
        principal: The principal in the configuration; None for `temporal-server`.
        api_key: The API key in the environment; None for none. It replaces the principal.

    Raises:
        ConfigError: The cell has an access policy, and there is no audit log, or the principal does not have the role `service`.
        NotAuthenticated: The API key is not known.
    """
    policy = await strongroom.access.latest()
    if not policy.principals and not strongroom.config.access_enforced:
        if strongroom.audit is None:
            return Callers(None, strongroom)
        name = principal or PRINCIPAL
        return Callers(lambda source: strongroom.session(name, source=source, decide=until_policy), strongroom)
    if not policy.principals:
        msg = "access.enforce is set and the database has no access policy. Check the dsn, or restore the policy from a backup"
        raise ConfigError(msg)
    name, credential = principal or PRINCIPAL, "service"
    if api_key is not None:
        await strongroom.authenticated(api_key=api_key)
        name, key_id = by_api_key(policy, api_key, now=strongroom.access.now())
        credential = f"api-key:{key_id}"
    if name not in policy.holders("service"):
        msg = (
            f"the cell has an access policy, in which {name} does not have the role service; "
            f"run 'strongroom access bind {name} service', or name another principal in [serve] principal"
        )
        raise ConfigError(msg)
    strongroom.needed_audit("a cell with an access policy needs an audit log")
    return Callers(
        lambda source: strongroom.session(name, credential=credential, source=source, decide=unhidden), strongroom
    )


def unhidden(
    policy: Policy, principal: str, operation: Operation, namespaces: Sequence[UUID], *, now: datetime
) -> Decision:
    """Return the decision of `decide`, but never one that hides the namespace.

    A principal that has lost its role must get `PermissionDenied`. Temporal would take `NamespaceNotFound` for a deleted namespace,
    and drop its tasks.
    """
    return replace(decide(policy, principal, operation, namespaces, now=now), hidden=False)


def until_policy(
    policy: Policy, principal: str, operation: Operation, namespaces: Sequence[UUID], *, now: datetime
) -> Decision:
    """Allow everything while the cell has no access policy, and decide as `unhidden` when it has one.

    So a server that was started before the policy was made follows it, within the time for which a policy is kept.
    """
    if not policy.principals:
        return Decision(allowed=True)
    return unhidden(policy, principal, operation, namespaces, now=now)
