def main(text: str, integer: int, fraction: float, truth: bool, nothing, list: list, object: dict):
    return {
        "text": text + "!",
        "integer": integer + 1,
        "fraction": fraction / 2,
        "truth": not truth,
        "nothing": nothing is None,
        "list": len(list),
        "object": object["inner"],
    }
