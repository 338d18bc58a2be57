package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// report is what the load driver says on standard output.
type report struct {
	Requests int64
	Seconds  float64
	// Milliseconds.
	P50, P99, Max float64
	// CPU of the load driver, filled in when it has ended.
	CPU time.Duration `json:"-"`
}

func (r report) rate() float64 { return float64(r.Requests) / r.Seconds }

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, 60_000_000, 3) } // microseconds

func milliseconds(us int64) float64 { return float64(us) / 1000 }

// drive is the load driver: clients that each send a request, wait for the answer, and send the next.
func drive(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("load", flag.ContinueOnError)
	address := flags.String("address", "", "of the sidecar")
	function := flags.String("function", "one", "to invoke")
	clients := flags.Int("clients", 1, "at the same time")
	connections := flags.Int("connections", 4, "that the clients share")
	duration := flags.Duration("duration", time.Second, "how long")
	count := flags.Int("count", 0, "requests of each client, instead of a duration")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var stubs []beldiv1.FunctionsClient
	for range min(*connections, *clients) {
		stub, conn, err := connect(*address)
		if err != nil {
			return err
		}
		defer conn.Close()
		stubs = append(stubs, stub)
	}
	var (
		wait  sync.WaitGroup
		mu    sync.Mutex
		total = newHistogram()
		first error
	)
	began := time.Now()
	for n := range *clients {
		wait.Go(func() {
			h := newHistogram()
			err := client(ctx, stubs[n%len(stubs)], *function, n, *count, began.Add(*duration), h)
			mu.Lock()
			defer mu.Unlock()
			total.Merge(h)
			if first == nil {
				first = err
			}
		})
	}
	wait.Wait()
	if first != nil {
		return first
	}
	return json.NewEncoder(os.Stdout).Encode(report{
		Requests: total.TotalCount(),
		Seconds:  time.Since(began).Seconds(),
		P50:      milliseconds(total.ValueAtQuantile(50)),
		P99:      milliseconds(total.ValueAtQuantile(99)),
		Max:      milliseconds(total.Max()),
	})
}

// cellsOfAClient is how many keys a client goes round.
const cellsOfAClient = 500

func client(ctx context.Context, stub beldiv1.FunctionsClient, function string, n, count int, end time.Time, h *hdrhistogram.Histogram) error {
	for i := 0; ; i++ {
		before := time.Now()
		if count > 0 && i == count || count == 0 && before.After(end) {
			return nil
		}
		if err := invoke(ctx, stub, function, strconv.Itoa(n)+"-"+strconv.Itoa(i%cellsOfAClient)); err != nil {
			return err
		}
		if err := h.RecordValue(time.Since(before).Microseconds()); err != nil {
			return err
		}
	}
}

func invoke(ctx context.Context, stub beldiv1.FunctionsClient, function, key string) error {
	_, err := stub.Invoke(ctx, &beldiv1.InvokeRequest{Service: "bench", Function: function,
		Input: &beldiv1.Payload{Data: []byte(`{"key":"` + key + `"}`)}})
	if err != nil {
		return fmt.Errorf("invoke %s: %w", function, err)
	}
	return nil
}

func connect(address string) (beldiv1.FunctionsClient, *grpc.ClientConn, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(1<<20))
	if err != nil {
		return nil, nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return beldiv1.NewFunctionsClient(conn), conn, nil
}

// waitForFunction waits for the first answer.
func waitForFunction(ctx context.Context, address string) error {
	stub, conn, err := connect(address)
	if err != nil {
		return err
	}
	defer conn.Close()
	var last error
	err = until(ctx, func() bool {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		last = invoke(ctx, stub, "one", "first")
		return last == nil
	})
	if err != nil {
		return errors.Join(err, last)
	}
	return nil
}

// load runs the load driver as a process of its own.
func (s *stage) drive(ctx context.Context, address, function string, clients int, more ...string) (report, error) {
	args := append([]string{"load", "-address", address, "-function", function, "-clients", strconv.Itoa(clients)}, more...)
	cmd := exec.CommandContext(ctx, s.b.self, args...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return report{}, fmt.Errorf("load driver: %w\nsidecar:\n%s", err, s.sidecar.log)
	}
	var r report
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read the load driver's report: %w", err)
	}
	r.CPU = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	return r, nil
}
