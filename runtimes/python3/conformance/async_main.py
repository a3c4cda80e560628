import asyncio


async def main(delay: float, text: bytes = b""):
    await asyncio.sleep(delay)
    left_behind = asyncio.create_task(asyncio.sleep(60))
    return [text.decode(), left_behind.done()]
