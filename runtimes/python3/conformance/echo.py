def main(value: dict):
    return value
