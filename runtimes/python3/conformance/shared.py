import os


def main():
    before = sorted(os.listdir("./shared"))
    with open("./shared/note", "w") as file:
        file.write("written")
    with open("/shared/note") as file:
        return {"before": before, "after": file.read()}
