// Seats {free} by flight, in a service of its own: `beldi run -- node flight.mjs`.
import { randomUUID } from "node:crypto";
import { Service } from "beldi";

const flight = new Service("flight");

// One seat. Others may ask for it at the same time, so the write says what it relies on.
flight.function("reserve", async (ctx, { flight: number }) => {
  for (;;) {
    const seats = await ctx.read("seats", number);
    if (!seats || seats.free < 1) throw ctx.failure(`${number} is sold out`, { code: "SOLD_OUT" });
    const taken = { ...seats, free: seats.free - 1 };
    if (await ctx.condWrite("seats", number, taken, `value.free == ${seats.free}`)) return { booked: number };
  }
});

// All seats of a trip at the same time, then one payment.
flight.function("trip", async (ctx, { flights, card }) => {
  const bookings = await ctx.all(flights.map((number) => (c) => c.invoke("reserve", { flight: number })));
  const receipt = await ctx.record("pay", (token) => pay(card, 100 * flights.length, token));
  ctx.write("receipts", ctx.instance, receipt);
  return { bookings, receipt };
});

// The bank: it knows by the token that it is asked again for the same payment.
const payments = new Map();
function pay(card, amount, token) {
  if (!payments.has(token)) payments.set(token, { id: randomUUID(), card, amount });
  return payments.get(token);
}

flight.run();
