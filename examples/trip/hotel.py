"""Hotels: rooms {city, price, free, last} by hotel, bookings {hotel, trip, price} by booking."""

from beldi import Context, Service

hotel = Service("hotel")

# One step takes a room and says whether it did: `last` is the booking that took the latest one.
TAKE = """
value.free < 1 ? value
  : {'city': value.city, 'price': value.price, 'free': value.free - 1, 'last': input}
"""
GIVE_BACK = """
{'city': value.city, 'price': value.price, 'free': value.free + 1, 'last': value.last}
"""


@hotel.function
async def search(ctx: Context, query: dict) -> list:
    """Hotels of a city with free rooms, the cheapest first. An observation: a room may be gone when it is reserved."""
    rooms = ctx.scan("rooms", prefix=query["city"] + "/", values=True)
    free = [room async for room in rooms if room.value["free"] > 0]
    return [room.key for room in sorted(free, key=lambda room: room.value["price"])]


@hotel.function
async def reserve(ctx: Context, order: dict) -> dict:
    booking = ctx.instance  # unique to this call, and the same in all its attempts
    room = await ctx.update("rooms", order["hotel"], TAKE, booking)
    if room["last"] != booking:
        raise ctx.failure(f"{order['hotel']} has no free room", code="SOLD_OUT")
    ctx.write(
        "bookings",
        booking,
        {"hotel": order["hotel"], "trip": order["trip"], "price": room["price"]},
    )
    return {"booking": booking, "price": room["price"]}


@hotel.function
async def cancel(ctx: Context, booking: str) -> None:
    booked = await ctx.read("bookings", booking)
    if booked is None:
        return
    ctx.delete("bookings", booking)
    await ctx.update("rooms", booked["hotel"], GIVE_BACK)


if __name__ == "__main__":
    hotel.run()
