"""The two mechanisms with which a token wraps a root key: AES-GCM, and AES key wrap with padding."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar, cast

import pkcs11
from pkcs11 import types

from strongroom.kms.errors import AccessDenied, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

M = TypeVar("M")

ROOT_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_KEY_WRAP_BYTES = 8  # added by RFC 5649
_ATTRIBUTE = pkcs11.Attribute

# Errors of tokens for bytes that their key did not produce. The last two may also mean that the token itself fails.
DOES_NOT_OPEN = (
    pkcs11.EncryptedDataInvalid,
    pkcs11.EncryptedDataLenRange,
    pkcs11.WrappedKeyInvalid,
    pkcs11.WrappedKeyLenRange,
    pkcs11.SignatureInvalid,
    pkcs11.GeneralError,
    pkcs11.FunctionFailed,
)


@dataclass(frozen=True, slots=True)
class Wrapping:
    """A mechanism.

    Attributes:
        mechanism: The mechanism's name in PKCS#11.
        context: `native` if the mechanism authenticates the context, else `commitment`.
        uses: The uses that a key for this mechanism allows.
        wrap: Returns the wrapped root from a key, a root and the context.
        unwrap: Returns the root from a key, a wrapped root and the context.
    """

    mechanism: pkcs11.Mechanism
    context: Literal["native", "commitment"]
    uses: pkcs11.MechanismFlag
    wrap: Callable[[pkcs11.SecretKey, bytes, bytes], bytes]
    unwrap: Callable[[pkcs11.SecretKey, bytes, bytes], bytes]

    def probe(self, key: pkcs11.SecretKey) -> None:
        """Wrap and unwrap with a key. This raises the token's error if the token itself fails."""
        with suppress(AccessDenied):  # a retired version only unwraps, so it can't be probed
            self.unwrap(key, self.wrap(key, bytes(ROOT_BYTES), b""), b"")


def _gcm_wrap(key: pkcs11.SecretKey, root: bytes, bound: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    parameters = pkcs11.GCMParams(nonce, bound, 8 * _TAG_BYTES)
    allowed = _allowed(key, types.EncryptMixin)
    return nonce + _whole(allowed.encrypt(root, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters))


def _gcm_unwrap(key: pkcs11.SecretKey, ciphertext: bytes, bound: bytes) -> bytes:
    if len(ciphertext) != _NONCE_BYTES + ROOT_BYTES + _TAG_BYTES:
        raise IntegrityError
    nonce, sealed = ciphertext[:_NONCE_BYTES], ciphertext[_NONCE_BYTES:]
    parameters = pkcs11.GCMParams(nonce, bound, 8 * _TAG_BYTES)
    allowed = _allowed(key, types.DecryptMixin)
    return _whole(allowed.decrypt(sealed, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=parameters))


def _key_wrap(key: pkcs11.SecretKey, root: bytes, _bound: bytes) -> bytes:
    held = key.session.create_object(
        {
            _ATTRIBUTE.CLASS: pkcs11.ObjectClass.SECRET_KEY,
            _ATTRIBUTE.KEY_TYPE: pkcs11.KeyType.GENERIC_SECRET,
            _ATTRIBUTE.VALUE: root,
            _ATTRIBUTE.TOKEN: False,
            _ATTRIBUTE.EXTRACTABLE: True,
        }
    )
    try:
        allowed = _allowed(key, types.WrapMixin)
        return allowed.wrap_key(cast(pkcs11.Key, held), mechanism=pkcs11.Mechanism.AES_KEY_WRAP_PAD)
    finally:
        held.destroy()


def _key_unwrap(key: pkcs11.SecretKey, ciphertext: bytes, _bound: bytes) -> bytes:
    if len(ciphertext) != ROOT_BYTES + _KEY_WRAP_BYTES:
        raise IntegrityError
    held = _allowed(key, types.UnwrapMixin).unwrap_key(
        pkcs11.ObjectClass.SECRET_KEY,
        pkcs11.KeyType.GENERIC_SECRET,
        ciphertext,
        mechanism=pkcs11.Mechanism.AES_KEY_WRAP_PAD,
        store=False,
        template={_ATTRIBUTE.EXTRACTABLE: True, _ATTRIBUTE.SENSITIVE: False},
    )
    try:
        return bytes(held[_ATTRIBUTE.VALUE])
    finally:
        held.destroy()


def _whole(answer: bytes | Iterator[bytes]) -> bytes:
    return (
        answer if isinstance(answer, bytes) else b"".join(answer)
    )  # the binding returns an iterator only for a streamed input


def _allowed(key: pkcs11.SecretKey, use: type[M]) -> M:
    """Return a key with the methods of a use. The binding has them only if the key's attributes allow the use."""
    if not isinstance(key, use):
        named = use.__name__.removesuffix("Mixin").upper()
        msg = f"the key {key.label!r} does not allow this use: its CKA_{named} is false"
        raise AccessDenied(msg)
    return key


WRAPPINGS = {
    "AES_GCM": Wrapping(
        pkcs11.Mechanism.AES_GCM,
        "native",
        pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
        _gcm_wrap,
        _gcm_unwrap,
    ),
    "AES_KEY_WRAP_PAD": Wrapping(
        pkcs11.Mechanism.AES_KEY_WRAP_PAD,
        "commitment",
        pkcs11.MechanismFlag.WRAP | pkcs11.MechanismFlag.UNWRAP,
        _key_wrap,
        _key_unwrap,
    ),
}
