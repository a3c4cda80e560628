from __future__ import annotations

import datetime as module
from datetime import datetime
from typing import Optional


def main(
    data: bytes,
    more: Optional[bytes],
    none: bytes | None,
    when: datetime,
    same: module.datetime,
    number: int,
    text: str,
):
    return [
        data.decode(),
        more.decode(),
        none,
        [when.year, when.tzinfo is not None],
        same,
        number,
        text,
    ]
