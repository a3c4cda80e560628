def main(text: str):
    return text
