package beldi_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	beldi "github.com/beldi/beldi/clients/go"
)

type Order struct {
	Hotel string `json:"hotel"`
}

type Rooms struct {
	Free int `json:"free"`
}

type Booking struct {
	Booked string `json:"booked"`
}

func reserve(ctx *beldi.Context, order Order) (Booking, error) {
	rooms, ok, err := beldi.Read[Rooms](ctx, "rooms", order.Hotel)
	if err != nil {
		return Booking{}, err
	}
	if !ok || rooms.Free < 1 {
		return Booking{}, beldi.Fail("sold out", beldi.Code("SOLD_OUT"))
	}
	rooms.Free--
	if err := ctx.Write("rooms", order.Hotel, rooms); err != nil {
		return Booking{}, err
	}
	return Booking{order.Hotel}, nil
}

// A service with one function, and a caller outside. In a real program the two are different processes, and the address is left out.
func Example() {
	sidecar, stop, err := startFake()
	if err != nil {
		log.Fatal(err)
	}
	defer stop()
	sidecar.put("rooms/h1", Rooms{Free: 1})

	ctx, cancel := context.WithCancel(context.Background())
	hotel := beldi.NewService("hotel", beldi.Address(sidecar.address), quiet)
	beldi.Handle(hotel, "reserve", reserve)
	served := make(chan error, 1)
	go func() { served <- hotel.Run(ctx) }()
	<-sidecar.hellos

	client, err := beldi.NewClient(sidecar.address)
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	for _, key := range []string{"order-1", "order-2"} {
		booking, err := beldi.Call[Booking](ctx, client, "hotel/reserve", Order{Hotel: "h1"}, beldi.Key(key))
		var failure *beldi.Failure
		switch {
		case errors.As(err, &failure):
			fmt.Println("refused:", failure.Message, failure.Code)
		case err != nil:
			log.Fatal(err)
		default:
			fmt.Println("booked:", booking.Booked)
		}
	}
	cancel()
	fmt.Println(<-served)
	// Output:
	// booked: h1
	// refused: sold out SOLD_OUT
	// <nil>
}

// Branches that run at the same time each get a Context of their own.
func ExampleContext_Group() {
	_ = func(ctx *beldi.Context, cities []string) (int, error) {
		prices := make([]int, len(cities))
		group := ctx.Group()
		for i, city := range cities {
			group.Go(func(ctx *beldi.Context) error {
				price, err := beldi.Invoke[int](ctx, "fares/quote", city)
				prices[i] = price
				return err
			})
		}
		if err := group.Wait(); err != nil {
			return 0, err
		}
		total := 0
		for _, price := range prices {
			total += price
		}
		return total, nil
	}
}

// A payment that is made at least once, with a token by which the bank recognises a repetition, and never again once it is logged.
func ExampleRecord() {
	charge := func(token string, cents int) (string, error) { return "receipt-" + token, nil }

	_ = func(ctx *beldi.Context, cents int) (string, error) {
		return beldi.Record(ctx, "charge", func(token string) (string, error) {
			return charge(token, cents)
		})
	}
}
