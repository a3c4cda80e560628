import platform
import statistics


def main(name: str, numbers: list):
    print(f"hello {name}, this is Python {platform.python_version()}")
    return {"mean": statistics.mean(numbers), "sorted": sorted(numbers)}
