import asyncio


async def main():
    yield "one\n"
    await asyncio.sleep(0.01)
    yield {"two": float("nan")}
    yield b"hi"
