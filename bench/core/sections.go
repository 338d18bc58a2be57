package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const warmUp = 2 * time.Second

// coldStart: from the start of `beldi run` to the first answer; and the size of the binary.
func (b *benchmark) coldStart(ctx context.Context) error {
	const runs = 5
	best := time.Hour
	for range runs {
		dir, err := os.MkdirTemp(b.dir, "start")
		if err != nil {
			return err
		}
		socket := filepath.Join(dir, "s")
		began := time.Now()
		p, err := launch(nil, b.sidecar, "run", "--data", filepath.Join(dir, "data"), "--socket", socket,
			"--grpc", "off", "--http", "off", "--", b.self, "function")
		if err != nil {
			return err
		}
		err = until(ctx, func() bool { _, err := os.Stat(socket); return err == nil })
		if err == nil {
			err = waitForFunction(ctx, "unix://"+socket)
		}
		took := time.Since(began)
		if err != nil {
			return fmt.Errorf("cold start: %w\n%s", err, p.log)
		}
		best = min(best, took)
		if err := p.stop(); err != nil {
			return err
		}
	}
	b.figures.add(fmt.Sprintf("cold start of sidecar and function to the first answer, best of %d", runs), best.Seconds(), "s", atMost(0.3))
	info, err := os.Stat(b.sidecar)
	if err != nil {
		return err
	}
	b.figures.add("binary", float64(info.Size())/1e6, "MB", atMost(50))
	return nil
}

// latency: one client, one request at a time. The synced puts that one figure is compared with are made in between, on the same disk.
func (b *benchmark) latency(ctx context.Context) error {
	s, err := b.setUp(ctx, false)
	if err != nil {
		return err
	}
	puts, err := openPuts(filepath.Join(s.dir, "puts"))
	if err != nil {
		return err
	}
	stub, conn, err := connect(s.socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	ten, ten10 := newHistogram(), newHistogram()
	const rounds, each = 10, 100
	for round := range rounds + 1 { // the first warms up
		h, h10 := ten, ten10
		if round == 0 {
			h, h10 = newHistogram(), newHistogram()
		}
		if err := client(ctx, stub, "ten", 0, each, time.Time{}, h); err != nil {
			return err
		}
		for range each {
			before := time.Now()
			if err := puts.ten(); err != nil {
				return err
			}
			if err := h10.RecordValue(time.Since(before).Microseconds()); err != nil {
				return err
			}
		}
	}
	if err := puts.close(); err != nil {
		return err
	}
	tenWrites, tenPuts := milliseconds(ten.ValueAtQuantile(50)), milliseconds(ten10.ValueAtQuantile(50))
	b.figures.add("ten synced puts in a row into the bare embedded store, p50", tenPuts, "ms", inform)
	b.figures.add("ten writes then return, one client, Unix socket, p50", tenWrites, "ms", inform)
	b.figures.add("the same, as a share of the ten synced puts", tenWrites/tenPuts, "", atMost(0.5))
	if err := s.tearDown(); err != nil {
		return err
	}

	if s, err = b.setUp(ctx, true); err != nil {
		return err
	}
	for _, f := range []struct {
		function, name string
		goal           goal
	}{
		{"one", "one write, one client, TCP, p50", atMost(1.0)},
		{"ten", "ten writes then return, one client, TCP, p50", atMost(1.5)},
		{"durable", "a function that calls another, one write each, one client, TCP, p50", atMost(2.0)},
		{"mixed", "five reads and writes in turn, one client, TCP, p50", inform},
	} {
		if _, err := s.drive(ctx, s.tcp, f.function, 1, "-duration", warmUp.String()); err != nil {
			return err
		}
		u, err := s.usage()
		if err != nil {
			return err
		}
		r, err := s.drive(ctx, s.tcp, f.function, 1, "-duration", b.seconds.String())
		if err != nil {
			return err
		}
		b.figures.add(f.name, r.P50, "ms", f.goal)
		if f.function == "one" {
			sidecar, function, err := s.since(u)
			if err != nil {
				return err
			}
			b.figures.add("CPU of the sidecar for an instance with one write, one client", perRequest(sidecar, r), "ms", inform)
			b.figures.add("CPU of the function for an instance with one write, one client", perRequest(function, r), "ms", inform)
		}
	}
	return s.tearDown()
}

// usage is CPU time at some moment.
type usage struct{ sidecar, function time.Duration }

func (s *stage) usage() (u usage, err error) {
	if u.sidecar, err = s.sidecar.cpu(); err != nil {
		return u, err
	}
	u.function, err = s.function.cpu()
	return u, err
}

func (s *stage) since(u usage) (sidecar, function time.Duration, err error) {
	now, err := s.usage()
	return now.sidecar - u.sidecar, now.function - u.function, err
}

func perRequest(cpu time.Duration, r report) float64 {
	return cpu.Seconds() * 1000 / float64(r.Requests)
}

const crowd = 64

// load: 64 clients; throughput, p99, CPU and memory.
func (b *benchmark) load(ctx context.Context) error {
	s, err := b.setUp(ctx, false)
	if err != nil {
		return err
	}
	idle, _, err := s.sidecar.resident()
	if err != nil {
		return err
	}
	b.figures.add("memory of the sidecar at rest", idle, "MiB", atMost(40))

	// Per request.
	cpu, driver := make(map[string]usage), make(map[string]time.Duration)
	for _, f := range []struct {
		function, name string
		steps          int
		rate           goal
	}{
		{"one", "one-write instances, 64 clients", 1, atLeast(5000)},
		{"ten", "steps in instances of ten writes, 64 clients", 10, atLeast(20000)},
		{"mixed", "steps in instances of five reads and writes in turn, 64 clients", 10, atLeast(20000)},
		{"hot", "updates of one cell, 64 clients", 1, atLeast(1000)},
	} {
		if _, err := s.drive(ctx, s.socket, f.function, crowd, "-duration", warmUp.String()); err != nil {
			return err
		}
		before, err := s.usage()
		if err != nil {
			return err
		}
		profiled := s.profileDuring(f.function)
		r, err := s.drive(ctx, s.socket, f.function, crowd, "-duration", b.seconds.String())
		if err != nil {
			return err
		}
		if err := <-profiled; err != nil {
			return err
		}
		sidecar, function, err := s.since(before)
		if err != nil {
			return err
		}
		n := time.Duration(r.Requests)
		cpu[f.function] = usage{sidecar / n, function / n}
		driver[f.function] = r.CPU / n
		b.figures.add(f.name, r.rate()*float64(f.steps), "/s", f.rate)
		b.figures.add("p99 of that", r.P99, "ms", atMost(50))
	}
	_, peak, err := s.sidecar.resident()
	if err != nil {
		return err
	}
	b.figures.add("memory of the sidecar, the most under that load", peak, "MiB", atMost(100))

	one, ten, mixed := cpu["one"], cpu["ten"], cpu["mixed"]
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
	b.figures.add("CPU of the sidecar for an instance with one write", ms(one.sidecar), "ms", atMost(0.25))
	b.figures.add("CPU of the function for an instance with one write", ms(one.function), "ms", atMost(0.1))
	b.figures.add("CPU of the load driver for an instance with one write", ms(driver["one"]), "ms", inform)
	b.figures.add("CPU of the sidecar for each further write", ms(ten.sidecar-one.sidecar)/9, "ms", atMost(0.03))
	b.figures.add("CPU of the function for each further write", ms(ten.function-one.function)/9, "ms", inform)
	b.figures.add("CPU of the sidecar for each further step, reads and writes in turn", ms(mixed.sidecar-one.sidecar)/9, "ms", atMost(0.03))
	return s.tearDown()
}

// profileDuring fetches profiles of the sidecar while the load runs, if they are asked for.
func (s *stage) profileDuring(function string) <-chan error {
	done := make(chan error, 1)
	if s.profiles == "" {
		done <- nil
		return done
	}
	go func() {
		seconds := max(1, int(s.b.seconds.Seconds())-1)
		if err := s.fetchProfile("cpu-"+function+".pprof", "profile?seconds="+strconv.Itoa(seconds)); err != nil {
			done <- err
			return
		}
		done <- s.fetchProfile("heap-"+function+".pprof", "heap")
	}()
	return done
}

// growth: memory after a million steps, and what stays on disk for each instance and step.
func (b *benchmark) growth(ctx context.Context) error {
	s, err := b.setUp(ctx, false)
	if err != nil {
		return err
	}
	data := filepath.Join(s.dir, "data")
	fill := func(function string, each int) (bytes, instances float64, err error) {
		before, err := size(data)
		if err != nil {
			return 0, 0, err
		}
		if _, err := s.drive(ctx, s.socket, function, crowd, "-count", strconv.Itoa(each)); err != nil {
			return 0, 0, err
		}
		after, err := size(data)
		return float64(after - before), float64(each * crowd), err
	}
	// The keys are used again and again, so that cells grow no more and what grows is the log.
	if _, _, err := fill("ten", cellsOfAClient); err != nil {
		return err
	}
	if _, _, err := fill("one", cellsOfAClient); err != nil {
		return err
	}
	tenBytes, tens, err := fill("ten", 1_000_000/10/crowd)
	if err != nil {
		return err
	}
	oneBytes, ones, err := fill("one", 1_000)
	if err != nil {
		return err
	}
	now, peak, err := s.sidecar.resident()
	if err != nil {
		return err
	}
	if s.profiles != "" {
		if err := s.fetchProfile("heap-growth.pprof", "heap"); err != nil {
			return err
		}
	}
	b.figures.add("memory of the sidecar after more than a million steps", now, "MiB", atMost(100))
	b.figures.add("the most until then", peak, "MiB", atMost(100))
	b.figures.add("disk for an instance with one write", oneBytes/ones, "B", inform)
	b.figures.add("disk for each further write", (tenBytes/tens-oneBytes/ones)/9, "B", inform)
	return s.tearDown()
}

// size is what the files below a directory have together. Files that go away meanwhile do not count.
func size(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total, err
}
