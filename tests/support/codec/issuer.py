"""An issuer of tokens for tests."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "https://login.example.com/"
AUDIENCE = "strongroom-codec"


class Issuer:
    """Signs tokens with one key, which it publishes."""

    def __init__(self):
        self._key = ec.generate_private_key(ec.SECP256R1())

    @property
    def pem(self):
        """The public key."""
        return self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def jwk(self, key_id):
        """The public key as an entry of a JSON Web Key Set."""
        return {**jwt.get_algorithm_by_name("ES256").to_jwk(self._key.public_key(), as_dict=True), "kid": key_id}

    def claims(self, **changed):
        """Return the claims of a caller who may use the namespace `first`. A claim of None is left out."""
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "exp": int(time.time()) + 600,
            "groups": ["support", "others"],
            **changed,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def token(self, *, key_id=None, **changed):
        """Return a signed token."""
        headers = {} if key_id is None else {"kid": key_id}
        return jwt.encode(self.claims(**changed), self._key, "ES256", headers=headers)

    def unsigned(self):
        """Return a token of the algorithm `none`."""
        return jwt.encode(self.claims(), None, "none")

    def confused(self):
        """Return a token of HS256 whose secret is the public key in the server's file."""
        parts = [{"alg": "HS256", "typ": "JWT"}, self.claims()]
        text = ".".join(_base64(json.dumps(part).encode()) for part in parts)
        return f"{text}.{_base64(hmac.digest(self.pem, text.encode(), hashlib.sha256))}"


def _base64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
