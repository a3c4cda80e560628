import atexit
import sys
import threading
import time

atexit.register(time.sleep, 60)
notes = open("/shared/notes", "w")


def main():
    threading.Thread(target=time.sleep, args=(60,)).start()
    notes.write("flushed at the end")
    sys.stdout.close()
    return "at once"
