import os


def main():
    return {
        "job": os.environ["WM_JOB_ID"],
        "greeting": os.environ["GREETING"],
        "empty": os.environ["EMPTY"],
        "foreign": sorted(name for name in os.environ if name.startswith("EXECUTOR")),
    }
