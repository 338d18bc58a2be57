package main

import (
	"context"

	"github.com/beldi/beldi/bench/calls"
)

// storeCalls: what steps ask of the store.
func (b *benchmark) storeCalls(ctx context.Context) error {
	costs, err := calls.Measure(ctx)
	if err != nil {
		return err
	}
	for _, c := range costs {
		b.figures.add("store calls: "+c.What, float64(c.Calls), "", atMost(float64(c.AtMost)))
	}
	return nil
}
