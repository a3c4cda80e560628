class Boom(Exception):
    def __init__(self, message, code):
        super().__init__(message)
        self.code = code
        self.detail = {"seen": [1, None]}
        self.lock = object()  # not JSON: left out of `extra`


def main(text: str):
    raise Boom(text, code=7)
