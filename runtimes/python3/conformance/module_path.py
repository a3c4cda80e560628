K = 5


def main():
    from .script_a import K as by_package

    import f.my_folder.script_a as by_path

    return [__name__, __package__, by_package, by_path.K]


if __name__ == "__main__":
    raise AssertionError("it is imported, not run")
