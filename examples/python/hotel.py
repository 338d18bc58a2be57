"""A service with two functions, one for asyncio and one for a thread: `beldi run -- python hotel.py`."""

import urllib.request

from beldi import Context, Service, ThreadContext

hotel = Service("hotel")


@hotel.function
async def reserve(ctx: Context, order: dict) -> dict:
    """Takes a room in each of the hotels, at the same time, and charges the card once; all of it or nothing."""
    hotels = order["hotels"]
    left = await ctx.gather(*(lambda c, name=name: add(c, name, -1) for name in hotels))
    sold_out = [name for name, rooms in zip(hotels, left) if rooms < 0]
    if sold_out:
        await ctx.gather(*(lambda c, name=name: add(c, name, +1) for name in hotels))
        raise ctx.failure("sold out", code="SOLD_OUT", details=sold_out)
    receipt = await ctx.record("charge", charge, order["card"])
    ctx.write("bookings", ctx.instance, {"order": order, "receipt": receipt})
    return {"booking": ctx.instance, "receipt": receipt}


async def add(ctx: Context, name: str, rooms: int) -> int:
    # One step: between a read and a write another reservation could take the room.
    return await ctx.update("rooms", name, "(found ? value : 0) + input", rooms)


def charge(card: str, token: str) -> dict:
    """Stands for a payment provider, which charges once for each token."""
    return {"card": card[-4:], "receipt": token}


@hotel.function
def photo(ctx: ThreadContext, url: str) -> int:
    """Fetches a picture once and keeps it: code that blocks has a thread of its own."""

    def fetch() -> bytes:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.read()

    picture = ctx.record("fetch", fetch)
    ctx.write("photos", url, picture)
    return len(picture)


if __name__ == "__main__":
    hotel.run()
