"""Writes tables.jsonl (the tables at the start) and requests.jsonl beside itself: python generate.py [SEED].

The committed files are those of seed 1. There are fewer rooms, seats and cents than the requests want, so that legs of
every kind fail and must be given back.
"""

import json
import random
import sys
from pathlib import Path

CITIES = ["Athens", "Dublin", "Lisbon", "Oslo"]
HOTELS, FLIGHTS, USERS, REQUESTS = 3, 4, 150, 1000


def main() -> None:
    rng = random.Random(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    cells = []

    def put(service: str, table: str, key: str, value: object) -> None:
        cells.append({"service": service, "table": table, "key": key, "value": value})

    for city in CITIES:
        for n in range(1, HOTELS + 1):
            room = {
                "city": city,
                "price": rng.randrange(6000, 20000),
                "free": rng.randrange(55, 95),
                "last": "",
            }
            put("hotel", "rooms", f"{city}/{n}", room)
        for n in range(1, FLIGHTS + 1):
            seats = {
                "city": city,
                "price": rng.randrange(8000, 30000),
                "free": rng.randrange(40, 70),
            }
            put("flight", "seats", f"{city}-{n}", seats)
    for n in range(USERS):
        put("pay", "accounts", f"u{n:03}", {"balance": rng.randrange(50000, 400000)})
    put("pay", "revenue", "total", 0)

    requests = []
    for n in range(REQUESTS):
        city = rng.choice(CITIES)
        flight = f"{city}-{rng.randint(1, FLIGHTS)}"
        requests.append(
            {
                "id": f"r{n:04}",
                "user": f"u{rng.randrange(USERS):03}",
                "city": city,
                "flight": flight,
            }
        )

    here = Path(__file__).parent
    for name, rows in ("tables.jsonl", cells), ("requests.jsonl", requests):
        (here / name).write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
