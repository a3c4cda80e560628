def main(text: str):
    print(text)
    return text
