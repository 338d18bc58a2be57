// Flights: seats {city, price, free} by flight, bookings {flight, trip, price} by booking.
import { Service } from "beldi";

const flight = new Service("flight");

flight.function("reserve", async (ctx, order) => {
  for (;;) {
    const seats = await ctx.read("seats", order.flight);
    if (!seats) throw ctx.failure(`there is no flight ${order.flight}`, { code: "NO_SUCH_FLIGHT" });
    if (seats.free < 1) throw ctx.failure(`${order.flight} has no free seat`, { code: "SOLD_OUT" });
    // False if somebody else took a seat since it was read: look again.
    const taken = { ...seats, free: seats.free - 1 };
    if (await ctx.condWrite("seats", order.flight, taken, "value.free == new.free + 1")) {
      ctx.write("bookings", ctx.instance, { flight: order.flight, trip: order.trip, price: seats.price });
      return { booking: ctx.instance, price: seats.price };
    }
  }
});

flight.function("cancel", async (ctx, booking) => {
  const booked = await ctx.read("bookings", booking);
  if (!booked) return;
  ctx.delete("bookings", booking);
  await ctx.update("seats", booked.flight, "{'city': value.city, 'price': value.price, 'free': value.free + 1}");
});

flight.run();
