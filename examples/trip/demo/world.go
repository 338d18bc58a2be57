package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

var services = []string{"hotel", "pay", "flight", "trip"}

// world is the sidecar and the functions, each in a process that is started again when it ends.
type world struct {
	binary    string
	address   string // of the sidecar
	processes []*process
	sidecar   *process
}

func newWorld(o options, dir string) (*world, error) {
	binary, err := filepath.Abs(o.beldi)
	if err != nil {
		return nil, err
	}
	python, err := filepath.Abs(o.python)
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(dir, "sock")
	w := &world{binary: binary, address: "unix://" + socket}
	env := append(os.Environ(), "BELDI_ADDRESS="+w.address)
	add := func(name, in string, args ...string) (*process, error) {
		log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		p := &process{name: name, args: args, env: env, dir: in, log: log}
		w.processes = append(w.processes, p)
		return p, nil
	}
	for _, s := range services {
		args := []string{python, s + ".py"}
		if _, err := os.Stat(filepath.Join(o.example, s+".py")); err != nil {
			args = []string{"node", s + ".mjs"}
		}
		if _, err := add(s, o.example, args...); err != nil {
			return nil, err
		}
	}
	w.sidecar, err = add("sidecar", dir, binary, "serve",
		"--socket", socket, "--grpc", "off", "--http", "off", "--data", filepath.Join(dir, "store"))
	return w, err
}

// run starts everything; the channel is closed when everything has ended, after ctx has.
func (w *world) run(ctx context.Context) <-chan struct{} {
	var all sync.WaitGroup
	for _, p := range w.processes {
		all.Go(func() { p.keepRunning(ctx) })
	}
	stopped := make(chan struct{})
	go func() { all.Wait(); close(stopped) }()
	return stopped
}

// ready waits until the sidecar answers and each service has a worker.
func (w *world) ready(ctx context.Context) error {
	for {
		out, err := w.cli(ctx, "functions", "-o", "json")
		if err == nil {
			var list []struct {
				Service string
				Workers int
			}
			if err := json.Unmarshal(out, &list); err != nil {
				return fmt.Errorf("beldi functions: %w", err)
			}
			there := map[string]bool{}
			for _, f := range list {
				if f.Workers > 0 {
					there[f.Service] = true
				}
			}
			missing := false
			for _, s := range services {
				missing = missing || !there[s]
			}
			if !missing {
				return nil
			}
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("wait for the services: %w", context.Cause(ctx)), err)
		}
	}
}

// cli runs the beldi command against the sidecar.
func (w *world) cli(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, w.binary, args...)
	cmd.Env = append(os.Environ(), "BELDI_ADDRESS="+w.address)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("beldi %s %s: %w: %s", args[0], args[1], err, stderr.String())
	}
	return out, nil
}

// killNowAndThen kills a process, chosen by chance, at random intervals: rate times a second on average, if processes
// start at once. Mostly it waits until the last victim is back, so that a slow machine gets on with the work; one time
// in four it strikes again meanwhile. The first two victims are a function and the sidecar, so that even a short run
// sees both.
func (w *world) killNowAndThen(ctx context.Context, rng *rand.Rand, rate float64) {
	for n := 0; rate > 0; n++ {
		pause := time.Duration((0.5 + rng.Float64()) / rate * float64(time.Second))
		victim := w.processes[rng.IntN(len(services))]
		if n == 1 || n > 1 && rng.IntN(3) == 0 {
			victim = w.sidecar
		}
		patient := rng.IntN(4) > 0
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		victim.kill()
		if patient && w.ready(ctx) != nil {
			return
		}
	}
}

func (w *world) kills() (functions, sidecar int64) {
	for _, p := range w.processes {
		if p == w.sidecar {
			sidecar = p.killed.Load()
		} else {
			functions += p.killed.Load()
		}
	}
	return functions, sidecar
}

type process struct {
	name   string
	args   []string
	env    []string
	dir    string
	log    io.WriteCloser
	killed atomic.Int64

	mu      sync.Mutex
	running *os.Process
}

// keepRunning ends after ctx has, with the process.
func (p *process) keepRunning(ctx context.Context) {
	defer p.log.Close()
	for ctx.Err() == nil {
		cmd := exec.CommandContext(ctx, p.args[0], p.args[1:]...)
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 5 * time.Second
		cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = p.dir, p.env, p.log, p.log
		err := cmd.Start()
		if err == nil {
			p.set(cmd.Process)
			err = cmd.Wait()
			p.set(nil)
		}
		fmt.Fprintf(p.log, "-- ended: %v\n", err)
		select {
		case <-time.After(50 * time.Millisecond): // a command that cannot be started must not spin
		case <-ctx.Done():
		}
	}
}

func (p *process) set(running *os.Process) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = running
}

func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running != nil && p.running.Kill() == nil {
		p.killed.Add(1)
	}
}
