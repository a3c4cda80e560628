# sandbox {image:python3}
import os


def main(value: str):
    return [value, os.getcwd(), os.getuid(), os.environ["HOME"]]
