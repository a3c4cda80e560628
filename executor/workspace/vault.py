"""Encryption at rest: what a workspace keeps secret is in the database in encrypted form only.

AES-256-GCM with one key for the instance, in a file beside the database and not in it. What a text
is of (a variable, a workspace) is authenticated with it, so that a ciphertext is of no use elsewhere.
"""

from __future__ import annotations

import os
from base64 import b64decode, urlsafe_b64encode
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from executor.errors import ConfigurationError

KEY_BYTES = 32
NONCE_BYTES = 12
VERSION = "1:"
"""Begins every ciphertext, so that another method can be told from this one."""


class Unreadable(Exception):
    """A ciphertext is damaged, of another key, or of another place; the message names the key's file."""


class Vault:
    """Encrypts and decrypts texts; `key_file` is only named in messages."""

    def __init__(self, key: bytes, key_file: Path) -> None:
        self._cipher = AESGCM(key)
        self.key_file = key_file

    @classmethod
    def of(cls, text: str, key_file: Path) -> Vault:
        """The vault of a key as `new_key` writes it; raises ConfigurationError naming the file."""
        try:
            key = _decoded(text)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise ConfigurationError(
                f"{key_file} holds no key: {KEY_BYTES} bytes in base64 belong there; restore it from a backup"
            )
        return cls(key, key_file)

    def seal(self, text: str, of: str) -> str:
        """The text encrypted, each time differently; only `unseal` with the same `of` opens it."""
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode(), of.encode())
        return VERSION + urlsafe_b64encode(nonce + sealed).decode()

    def unseal(self, sealed: str, of: str) -> str:
        """The text that was sealed; raises Unreadable."""
        try:
            raw = _decoded(sealed.removeprefix(VERSION))
            return self._cipher.decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], of.encode()).decode()
        except (InvalidTag, ValueError):  # ValueError: no base64, or too short
            raise Unreadable(f"it cannot be decrypted with the key in {self.key_file.name}") from None


def new_key() -> str:
    """A random key as text."""
    return urlsafe_b64encode(os.urandom(KEY_BYTES)).decode()


def _decoded(text: str) -> bytes:
    """Base64 exactly as it was written; raises ValueError.

    The last letter may carry bits that decoding drops: a text changed only there is a changed text.
    """
    raw = b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    if urlsafe_b64encode(raw).decode() != text:
        raise ValueError("the last letter carries bits of no byte")
    return raw
