"""Payments: accounts {balance} by user, payments {user, trip, amount} by payment, revenue in total. Amounts are cents."""

from beldi import Context, Service

pay = Service("pay")


@pay.function
async def charge(ctx: Context, order: dict) -> dict:
    user, amount = order["user"], order["amount"]
    while True:
        account = await ctx.read("accounts", user)
        if account is None or account["balance"] < amount:
            raise ctx.failure(f"{user} cannot pay {amount}", code="NO_FUNDS")
        rest = {"balance": account["balance"] - amount}
        # False if somebody else has changed the balance since it was read: look again.
        if await ctx.cond_write(
            "accounts", user, rest, f"value.balance == new.balance + {amount}"
        ):
            break
    payment = ctx.instance
    ctx.write(
        "payments", payment, {"user": user, "trip": order["trip"], "amount": amount}
    )
    await ctx.update("revenue", "total", "value + input", amount)
    return {"payment": payment}


if __name__ == "__main__":
    pay.run()
