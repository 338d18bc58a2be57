package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/schollz/progressbar/v3"
	"google.golang.org/grpc/codes"

	beldi "github.com/beldi/beldi/clients/go"
)

type request struct {
	ID     string `json:"id"`
	User   string `json:"user"`
	City   string `json:"city"`
	Flight string `json:"flight"`
}

// booked is what trip/book returns.
type booked struct {
	Trip    string `json:"trip"`
	Request string `json:"request"`
	Hotel   string `json:"hotel"`
	Flight  string `json:"flight"`
	Payment string `json:"payment"`
	Amount  int64  `json:"amount"`
}

// outcome is what the caller of a request was told.
type outcome struct {
	request request
	booked  *booked // nil: failed
	failure string  // the failure's code
	again   *booked // what a second call with the same key said, if one was made
}

type sent struct {
	outcomes []outcome
	tries    int64
}

// sendAll sends the requests, some at once, and every tenth successful one a second time.
func sendAll(ctx context.Context, client *beldi.Client, requests []request, clients int) (sent, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	outcomes := make([]outcome, len(requests))
	var tries, next atomic.Int64
	bar := progressbar.NewOptions(len(requests), progressbar.OptionSetDescription("booking"), progressbar.OptionSetWriter(os.Stderr),
		progressbar.OptionShowCount(), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetVisibility(onTerminal()))
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			for i := next.Add(1) - 1; int(i) < len(requests); i = next.Add(1) - 1 {
				o, err := send(ctx, client, requests[i], &tries)
				if err == nil && i%10 == 0 && o.booked != nil {
					var second outcome
					second, err = send(ctx, client, requests[i], &tries)
					o.again = second.booked
				}
				if err != nil {
					cancel(err)
					return
				}
				outcomes[i] = o
				_ = bar.Add(1) // a courtesy
			}
		})
	}
	all.Wait()
	_ = bar.Finish()
	return sent{outcomes, tries.Load()}, context.Cause(ctx)
}

// send repeats the request under its key until it has an answer: the trip, or the function's own failure.
func send(ctx context.Context, client *beldi.Client, r request, tries *atomic.Int64) (outcome, error) {
	for {
		tries.Add(1)
		trip, err := beldi.Call[booked](ctx, client, "trip/book", r, beldi.Key(r.ID), beldi.Wait(20*time.Second))
		var failure *beldi.Failure
		var refused *beldi.Error
		switch {
		case err == nil:
			return outcome{request: r, booked: &trip}, nil
		case errors.As(err, &failure):
			return outcome{request: r, failure: failure.Code}, nil
		case errors.As(err, &refused) && (refused.Code == codes.Unavailable || refused.Code == codes.DeadlineExceeded):
		default:
			return outcome{}, fmt.Errorf("book %s: %w", r.ID, err)
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return outcome{}, fmt.Errorf("book %s: %w; the last answer was: %w", r.ID, context.Cause(ctx), err)
		}
	}
}

func onTerminal() bool {
	info, err := os.Stderr.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

func readLines[T any](file string) ([]T, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var list []T
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		var one T
		if err := json.Unmarshal(lines.Bytes(), &one); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		list = append(list, one)
	}
	return list, lines.Err()
}
