package main

import (
	"context"
	"fmt"

	beldi "github.com/beldi/beldi/clients/go"
)

// input is what the load driver sends: a key that no other request uses at the same time.
type input struct {
	Key string `json:"key"`
}

// row is what the functions write: about a hundred bytes.
type row struct {
	Key   string `json:"key"`
	Count int    `json:"count"`
	Text  string `json:"text"`
}

func newRow(key string, count int) row {
	return row{key, count, "sixty-four bytes of text, so that a value is not quite nothing.."}
}

// serveFunctions is the function process.
func serveFunctions(ctx context.Context, _ []string) error {
	s := beldi.NewService("bench")
	// one: one write.
	beldi.Handle(s, "one", func(ctx *beldi.Context, in input) (string, error) {
		return "ok", ctx.Write("rows", in.Key, newRow(in.Key, 1))
	})
	// ten: ten writes, then return.
	beldi.Handle(s, "ten", func(ctx *beldi.Context, in input) (string, error) {
		for i := range 10 {
			key := fmt.Sprint(in.Key, "/", i)
			if err := ctx.Write("rows", key, newRow(key, i)); err != nil {
				return "", err
			}
		}
		return "ok", nil
	})
	// mixed: five times a read and a write of what was read.
	beldi.Handle(s, "mixed", func(ctx *beldi.Context, in input) (string, error) {
		for i := range 5 {
			key := fmt.Sprint(in.Key, "/", i)
			r, found, err := beldi.Read[row](ctx, "rows", key)
			if err != nil {
				return "", err
			}
			if !found {
				r = newRow(key, 0)
			}
			r.Count++
			if err := ctx.Write("rows", key, r); err != nil {
				return "", err
			}
		}
		return "ok", nil
	})
	// hot: one update, the same cell for all.
	beldi.Handle(s, "hot", func(ctx *beldi.Context, _ input) (string, error) {
		return "ok", ctx.Update("rows", "hot", "found ? value + 1 : 1", nil)
	})
	// durable: one write, and a call of a function with one write.
	beldi.Handle(s, "durable", func(ctx *beldi.Context, in input) (string, error) {
		if err := ctx.Write("rows", in.Key+"/caller", newRow(in.Key, 1)); err != nil {
			return "", err
		}
		return beldi.Invoke[string](ctx, "one", in)
	})
	return s.Run(ctx)
}
