import json  # noqa: F401

import a_module_nobody_has.part  # noqa: F401


def main():
    return "not reached"
