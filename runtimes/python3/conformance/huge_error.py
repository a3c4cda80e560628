def main():
    error = ValueError("m" * 5_000_000)
    for number in range(50):
        outer = RuntimeError("layer %d " % number + "x" * 100_000)
        outer.__cause__ = error
        error = outer
    raise error
