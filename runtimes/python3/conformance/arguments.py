import functools


def decorated(function):
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapped


@decorated
def main(first, missing, null=1, absent=2, given=3, *, hidden=4, **others):
    return [first, missing, null, absent, given, hidden, others]
