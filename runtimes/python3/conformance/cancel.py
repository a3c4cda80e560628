import time


def main():
    print("begun")
    try:
        time.sleep(60)
    finally:
        print("cleaned up")
