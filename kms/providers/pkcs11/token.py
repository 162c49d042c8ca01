"""The blocking part of the PKCS#11 provider: a session on a token, its keys, and the mapping of its errors."""

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
# Every other error, including vendors' own, means that the token can't be used now.
_BY_NAME = {name: kind for kind, names in _KINDS.items() for name in names}


class Pkcs11Token:
    """A token with a login at its first use. Every method blocks, so call them on the module's thread only.

    A login is valid for the whole process, so all users of a token share one session.

    Args:
        module: The module that has the token.
        label: The label of the token.
        pin: Returns the user's PIN. It is called at each login.
        what: The start of messages that concern no KEK.
    """

    def __init__(self, module: Module, label: str, *, pin: Callable[[], str], what: str) -> None:
        self._module = module
        self._label = label
        self._pin = pin
        self._what = what
        self._refused: str | None = None
        self._serial: bytes | None = None

    def use(self, job: Callable[[pkcs11.Session], T], what: str) -> T:
        """Run a job with the session, and map its errors.

        A missing key is looked up again in a new session, because a token that was removed, or from which another part of the
        process has logged out, shows no keys.
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
        """Return the AES keys with a label by version. The version is the CKA_ID, a number of 1 to 4 bytes.

        Raises:
            KeyNotFound: The token has no such key.
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
        """Return the token.

        Raises:
            KmsUnavailable: The token is not present.
        """
        return self._module.find(self._label, self._what)

    def close(self) -> None:
        """Stop using the session. The last user closes it, which logs the process out."""
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
            self._drop()  # the token was removed or another part logged out; the next call opens a new session
        raise failure

    def _session(self) -> pkcs11.Session:
        session = self._module.sessions.get(self._label)
        if session is None:
            token = self.find()
            if self._serial is not None and token.serial != self._serial:
                msg = f"{self._what}: another token has the label {self._label!r} now; put back the one that made the keys"
                raise KmsUnavailable(msg)
            session = self._log_in(token)
            self._serial = token.serial
            self._module.sessions[self._label] = session
        return session

    def _drop(self) -> None:
        session = self._module.sessions.pop(self._label, None)
        if session is not None:
            with suppress(pkcs11.PKCS11Error):  # it is closed already
                session.close()

    def _log_in(self, token: pkcs11.Token) -> pkcs11.Session:
        """Log in with the PIN. A refused PIN is not tried again, because a token counts wrong PINs and locks itself."""
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
    """Open a session of the user. Another part of the process may have logged in already."""
    try:
        return token.open(rw=True, user_pin=pin)
    except pkcs11.UserAlreadyLoggedIn:
        return token.open(rw=True)


def error_of(error: pkcs11.PKCS11Error, what: str) -> KmsError:
    """Return our error for an error of the binding, whose class is named after its CKR_ code."""
    name = type(error).__name__
    kind = _BY_NAME.get(name, KmsUnavailable)
    return kind(f"{what}: {str(kind.__doc__).removesuffix('.')} ({name})", provider_code=name)
