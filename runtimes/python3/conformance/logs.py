import sys


def main():
    for number in (1, 2, 3):
        print("out", number)
        print("err", number, file=sys.stderr)
    return "done"
