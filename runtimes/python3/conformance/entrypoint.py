def main():
    raise AssertionError("not this one")


def other(first, /, missing, null=1, absent=2, given=3, *more, hidden=4, **others):
    return [first, missing, null, absent, given, more, hidden, others]
