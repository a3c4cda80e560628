def main(data: bytes):
    return len(data)
