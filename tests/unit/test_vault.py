"""Encryption at rest: what opens a ciphertext, and what is said when nothing does."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from executor.errors import ConfigurationError
from executor.workspace.vault import Unreadable, Vault, new_key

FILE = Path("data/secrets.key")


def vault(key: str | None = None) -> Vault:
    return Vault.of(key or new_key(), FILE)


@pytest.mark.parametrize("text", ["", "hunter2", "ä€🎉\n\0", "x" * 100_000])
def test_what_is_sealed_opens_to_the_same_text(text: str) -> None:
    """With the same key, also in another process."""
    key = new_key()
    sealed = vault(key).seal(text, "a")
    assert vault(key).unseal(sealed, "a") == text
    assert text not in sealed or not text


def test_a_text_is_sealed_differently_each_time() -> None:
    """Equal secrets cannot be told from unequal ones."""
    one = vault()
    assert len({one.seal("hunter2", "a") for _ in range(50)}) == 50


def test_a_ciphertext_is_of_no_use_elsewhere() -> None:
    """Under another key, or copied to another variable or workspace."""
    one = vault()
    sealed = one.seal("hunter2", "a")
    for other, of in ((vault(), "a"), (one, "b")):
        with pytest.raises(Unreadable, match=r"the key in secrets\.key"):
            other.unseal(sealed, of)


def test_a_changed_ciphertext_is_refused() -> None:
    """Whatever character was changed, and however much is left."""
    one = vault()
    sealed = one.seal("hunter2", "a")
    letters = string.ascii_letters + string.digits + "-_="
    others = ((at, letter) for at in range(2, len(sealed)) for letter in letters if letter != sealed[at])
    changed = [sealed[:at] + letter + sealed[at + 1 :] for at, letter in others]
    for text in [*changed, *(sealed[:size] for size in range(len(sealed))), "", "ä", "1:%%%%"]:
        with pytest.raises(Unreadable):
            one.unseal(text, "a")


@pytest.mark.parametrize("text", ["", "x", "ä", "A" * 43, "A" * 40, "A" * 43 + "=AAAA", "A" * 43 + "=\n"])
def test_what_is_no_key_is_refused_by_its_file(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"data/secrets\.key holds no key"):
        Vault.of(text, FILE)
