// Hotel is a service in Go: `beldi run -- go run ./examples/go/hotel`, then
// `beldi invoke hotel/reserve '{"hotel": "h1"}'`.
package main

import (
	"context"
	"log"

	beldi "github.com/beldi/beldi/clients/go"
)

type order struct {
	Hotel string `json:"hotel"`
}

type rooms struct {
	Free int `json:"free"`
}

type booking struct {
	Booked string `json:"booked"`
	Left   int    `json:"left"`
}

func main() {
	svc := beldi.NewService("hotel")
	beldi.Handle(svc, "open", func(ctx *beldi.Context, o order) (rooms, error) {
		r := rooms{Free: 10}
		return r, ctx.Write("rooms", o.Hotel, r)
	})
	beldi.Handle(svc, "reserve", func(ctx *beldi.Context, o order) (booking, error) {
		r, ok, err := beldi.Read[rooms](ctx, "rooms", o.Hotel)
		if err != nil {
			return booking{}, err
		}
		if !ok || r.Free < 1 {
			return booking{}, beldi.Fail("sold out", beldi.Code("SOLD_OUT"))
		}
		r.Free--
		if err := ctx.Write("rooms", o.Hotel, r); err != nil {
			return booking{}, err
		}
		return booking{o.Hotel, r.Free}, nil
	})
	if err := svc.Run(context.Background()); err != nil {
		log.Fatal(err)
	}
}
