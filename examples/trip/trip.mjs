// Trips: trips {request, hotel, flight, payment, amount} by trip. A trip is a room, a seat and a payment, or nothing.
import { FunctionFailed, Service } from "beldi";

const trip = new Service("trip");

trip.function("book", async (ctx, request) => {
  const room = await reserveRoom(ctx, request);

  const seat = await orElse(
    () => ctx.invoke("flight/reserve", { flight: request.flight, trip: ctx.instance }),
    () => ctx.invoke("hotel/cancel", room.booking),
  );

  const amount = room.price + seat.price;
  const { payment } = await orElse(
    () => ctx.invoke("pay/charge", { user: request.user, trip: ctx.instance, amount }),
    async () => {
      await ctx.invoke("flight/cancel", seat.booking);
      await ctx.invoke("hotel/cancel", room.booking);
    },
  );

  const booked = { request: request.id, hotel: room.booking, flight: seat.booking, payment, amount };
  ctx.write("trips", ctx.instance, booked);
  return { trip: ctx.instance, ...booked };
});

// The cheapest hotel that has a room when it is asked: the search only observed.
async function reserveRoom(ctx, request) {
  for (const hotel of await ctx.invoke("hotel/search", { city: request.city })) {
    try {
      return await ctx.invoke("hotel/reserve", { hotel, trip: ctx.instance });
    } catch (error) {
      if (error.code !== "SOLD_OUT") throw error;
    }
  }
  throw ctx.failure(`no hotel in ${request.city} has a free room`, { code: "SOLD_OUT" });
}

// If the leg says no, the earlier ones are given back. Crashes need no care: the function runs again and gets here.
async function orElse(leg, compensate) {
  try {
    return await leg();
  } catch (error) {
    if (error instanceof FunctionFailed) await compensate();
    throw error;
  }
}

trip.run();
