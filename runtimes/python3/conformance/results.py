import datetime
import decimal
import uuid


def main():
    return {
        "bytes": b"test",
        "deeper": {"bytes": b"test"},
        "numbers": [float("nan"), float("inf"), -float("inf"), 10**30, 1.0],
        "words": 'NaN, "Infinity", -Infinity',
        "nul": "a\0b and \\u0000",
        "moment": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "decimal": decimal.Decimal("1.10"),
        "uuid": uuid.UUID(int=1),
        "tuple": (1, (2,)),
        "set": {1},
        "keys": {1: "a", None: "b", True: "c", 2.5: "d"},
        "surrogate": "\ud800",
    }
