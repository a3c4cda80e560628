def main():
    yield "one\ntwo"
    print("between")
    yield "three"
