"""Keeps passwords out of what is said about a failure."""

import re

MASK = "***"
_PATTERNS = (
    # password=… in a libpq string: in quotes within a SQL text, in quotes, bare; PASSWORD '…' in CREATE USER, CREATE SECRET, ….
    re.compile(
        r"(?i)(\bpass(?:word|wd)?\s*=\s*)(?:''(?:[^'\\]|\\''|\\[^'])*''|'(?:[^'\\]|\\.|'')*'|[^\s'\";]+)"
    ),
    re.compile(r"(?i)(\bpassword\s+)'(?:[^'\\]|\\.|'')*'"),
    re.compile(r"(?i)(\bidentified\s+by\s+)'(?:[^'\\]|\\.|'')*'"),
    # scheme://user:password@host
    re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s/:@]*:)[^\s/@]*(?=@)", re.IGNORECASE),
)


def redacted(text, secrets=()):
    """`text` without the secrets, and without what stands where passwords do."""
    for pattern in _PATTERNS:
        text = pattern.sub(rf"\g<1>{MASK}", text)
    for secret in sorted(secrets, key=len, reverse=True):
        if secret:
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", MASK, text)
    return text
