def main(value: int):
    return {"wm_labels": ["red", "blue"], "value": value}
