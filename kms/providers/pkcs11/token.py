"""The blocking half of pkcs11.py: a session on a token, its keys, and what its errors are in our tree."""

from __future__ import annotations

import hmac
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

import pkcs11

from strongroom.kms.errors import (
    AccessDenied,
    KeyNotFound,
    KmsAuthenticationError,
    KmsError,
    KmsUnavailable,
    QuotaExceeded,
    UnsupportedOperation,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from .module import Module

T = TypeVar("T")

_MOST_ID_BYTES = 4

_KINDS: dict[type[KmsError], tuple[str, ...]] = {
    KeyNotFound: ("NoSuchKey", "ObjectHandleInvalid", "KeyHandleInvalid"),
    KmsAuthenticationError: (
        *("PinIncorrect", "PinInvalid", "PinLenRange", "PinExpired", "PinLocked", "UserPinNotInitialized"),
        *("AnotherUserAlreadyLoggedIn", "UserTooManyTypes"),
    ),
    AccessDenied: ("AttributeReadOnly", "SessionReadOnly", "TokenWriteProtected", "FunctionRejected"),
    UnsupportedOperation: (
        *("MechanismInvalid", "MechanismParamInvalid", "FunctionNotSupported", "KeyTypeInconsistent", "KeySizeRange"),
        *("TemplateInconsistent", "TemplateIncomplete", "AttributeTypeInvalid", "AttributeValueInvalid"),
    ),
    QuotaExceeded: ("DeviceMemory",),
}
# Everything else, known or a vendor's own, is a token that can't be used now: device, session and general errors.
_BY_NAME = {name: kind for kind, names in _KINDS.items() for name in names}


class Pkcs11Token:
    """A token, logged in to when it is first used. Every method blocks; call them on the module's thread only.

    A login is the whole process's, so all that use a token share one session.

    Args:
        module: that has it.
        label: of the token.
        pin: returns the user's PIN; asked at each login.
        what: begins the messages that are about no KEK.
    """

    def __init__(self, module: Module, label: str, *, pin: Callable[[], str], what: str) -> None:
        self._module = module
        self._label = label
        self._pin = pin
        self._what = what
        self._refused: str | None = None

    def use(self, job: Callable[[pkcs11.Session], T], what: str) -> T:
        """Do something with the session, and map what goes wrong.

        That a key is missing is told only by a new session: a token that was removed shows no keys, nor does one from which
        another part of the process has logged out.
        """
        self._module.users.setdefault(self._label, set()).add(self)
        is_new = self._label not in self._module.sessions
        try:
            return self._once(job, what)
        except KeyNotFound:
            if is_new:
                raise
        self._drop()
        return self._once(job, what)

    def keys(self, session: pkcs11.Session, kek: str) -> dict[int, list[pkcs11.SecretKey]]:
        """Return the AES keys with this label by version, which is their CKA_ID, a number of 1 to 4 bytes.

        Raises:
            KeyNotFound: there are none.
        """
        wanted = {
            pkcs11.Attribute.CLASS: pkcs11.ObjectClass.SECRET_KEY,
            pkcs11.Attribute.KEY_TYPE: pkcs11.KeyType.AES,
            pkcs11.Attribute.LABEL: kek,
        }
        versions: dict[int, list[pkcs11.SecretKey]] = {}
        for key in list(session.get_objects(wanted)):
            named = key[pkcs11.Attribute.ID]
            if isinstance(key, pkcs11.SecretKey) and 0 < len(named) <= _MOST_ID_BYTES:
                versions.setdefault(int.from_bytes(named), []).append(key)
        if not versions:
            msg = f"{self._what}:{kek}: the token {self._label!r} has no AES key of this label with a CKA_ID of 1 to 4 bytes"
            raise KeyNotFound(msg)
        return versions

    def find(self) -> pkcs11.Token:
        """Return the token; raises `KmsUnavailable` if it is not there now."""
        return self._module.find(self._label, self._what)

    def close(self) -> None:
        """Leave the session; the last user's leaving closes it, which is the process's logout."""
        users = self._module.users.get(self._label, set())
        users.discard(self)
        if not users:
            self._drop()

    def _once(self, job: Callable[[pkcs11.Session], T], what: str) -> T:
        try:
            return job(self._session())
        except pkcs11.PKCS11Error as error:
            failure = error_of(error, what)
        if failure.retryable:
            self._drop()  # a session that outlived its token, or another's logout; the next call opens a new one
        raise failure

    def _session(self) -> pkcs11.Session:
        session = self._module.sessions.get(self._label)
        if session is None:
            session = self._log_in(self.find())
            self._module.sessions[self._label] = session
        return session

    def _drop(self) -> None:
        session = self._module.sessions.pop(self._label, None)
        if session is not None:
            with suppress(pkcs11.PKCS11Error):  # it is gone already
                session.close()

    def _log_in(self, token: pkcs11.Token) -> pkcs11.Session:
        """Log in once with a PIN: a token counts wrong ones and locks itself, so one that was refused is not tried again."""
        pin = self._read_pin()
        if self._refused is not None and hmac.compare_digest(self._refused.encode(), pin.encode()):
            msg = f"{self._what}: the token refused this PIN before; it is not tried again, as tries are counted"
            raise KmsAuthenticationError(msg)
        try:
            return log_in(token, pin)
        except pkcs11.PKCS11Error as error:
            failure = error_of(error, self._what)
        if isinstance(failure, KmsAuthenticationError):
            self._refused = pin
        raise failure

    def _read_pin(self) -> str:
        try:
            pin = self._pin().strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"{self._what}: the PIN can't be read: {getattr(error, 'strerror', None) or 'it is not text'}"
        else:
            if pin and pin.isprintable():
                return pin
            msg = f"{self._what}: the PIN is empty, or has characters that no PIN has"
        raise KmsAuthenticationError(msg)


def log_in(token: pkcs11.Token, pin: str) -> pkcs11.Session:
    """Open a session of the user's, who may be logged in already by another part of the process."""
    try:
        return token.open(rw=True, user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open(rw=True)


def error_of(error: pkcs11.PKCS11Error, what: str) -> KmsError:
    """Map the binding's errors, each of which is named for its CKR_ code, to our tree."""
    name = type(error).__name__
    kind = _BY_NAME.get(name, KmsUnavailable)
    return kind(f"{what}: {str(kind.__doc__).removesuffix('.')} ({name})", provider_code=name)
