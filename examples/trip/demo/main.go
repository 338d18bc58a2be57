// Command demo books a thousand trips while it kills functions and sidecar, and then audits the tables.
//
// It starts one sidecar on a fresh embedded store and the four services of ../ (two in Python, two in Node), sends the
// requests of ../requests.jsonl, each with an idempotency key, and kills one of the five processes about once a second
// with SIGKILL. A request that gets no answer is sent again under the same key. The audit then recomputes from the
// tables what happened: every successful request has one booking of each kind and one payment, failed ones have
// nothing, and no room, seat or cent is missing. Exit status 1 if that is not so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	beldi "github.com/beldi/beldi/clients/go"
)

type options struct {
	beldi    string // the binary
	example  string // the directory with services, tables and requests
	python   string
	seed     uint64
	kills    float64 // a second
	requests int
	clients  int
	limit    time.Duration
	spoil    string
	keep     bool
}

func main() {
	var o options
	flag.StringVar(&o.beldi, "beldi", "bin/beldi", "the beldi `binary`")
	flag.StringVar(&o.example, "example", "examples/trip", "`directory` of the example")
	flag.StringVar(&o.python, "python", ".venv/bin/python", "Python `interpreter` that has the SDK")
	flag.Uint64Var(&o.seed, "seed", 1, "seed of the kills")
	flag.Float64Var(&o.kills, "kills", 1, "kills a second; 0: none")
	flag.IntVar(&o.requests, "requests", 1000, "how many of the requests to send")
	flag.IntVar(&o.clients, "clients", 16, "how many requests at once")
	flag.DurationVar(&o.limit, "limit", 5*time.Minute, "give up after this time")
	flag.StringVar(&o.spoil, "break", "", "spoil the tables before the audit, which must notice: booking, payment, room or money")
	flag.BoolVar(&o.keep, "keep", false, "keep the store and the logs")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	clean, err := demo(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
	}
	if err != nil || !clean {
		stop()
		os.Exit(1)
	}
}

// demo says whether the audit found nothing.
func demo(ctx context.Context, o options) (clean bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.limit, fmt.Errorf("not done after %s", o.limit))
	defer cancel()
	dir, err := os.MkdirTemp("", "beldi-demo-")
	if err != nil {
		return false, err
	}
	defer func() {
		if clean && !o.keep {
			err = errors.Join(err, os.RemoveAll(dir))
			return
		}
		fmt.Fprintf(os.Stderr, "The store and the logs are in %s\n", dir)
	}()
	requests, err := readLines[request](filepath.Join(o.example, "requests.jsonl"))
	if err != nil {
		return false, err
	}
	requests = requests[:min(len(requests), o.requests)]

	w, err := newWorld(o, dir)
	if err != nil {
		return false, err
	}
	running, stopAll := context.WithCancel(context.Background()) // not ctx: the audit needs the sidecar
	stopped := w.run(running)
	defer func() { stopAll(); <-stopped }()
	if err := w.ready(ctx); err != nil {
		return false, err
	}
	before := filepath.Join(o.example, "tables.jsonl")
	if _, err := w.cli(ctx, "cells", "import", before); err != nil {
		return false, err
	}

	killing, noMoreKills := context.WithCancel(ctx)
	killed := make(chan struct{})
	go func() {
		defer close(killed)
		w.killNowAndThen(killing, rand.New(rand.NewPCG(o.seed, 0)), o.kills)
	}()
	client, err := beldi.NewClient(w.address)
	if err != nil {
		noMoreKills()
		return false, err
	}
	began := time.Now()
	sent, err := sendAll(ctx, client, requests, o.clients)
	took := time.Since(began)
	noMoreKills()
	<-killed
	err = errors.Join(err, client.Close())
	if err != nil {
		return false, err
	}

	if err := w.ready(ctx); err != nil {
		return false, err
	}
	if err := w.spoil(ctx, o.spoil); err != nil {
		return false, err
	}
	return w.audit(ctx, before, sent, took)
}
