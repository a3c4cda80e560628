import time


def main():
    print("begun")
    time.sleep(60)
