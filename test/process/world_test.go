// Package process tests Beldi as it is run: the built sidecar on a disk with fsync, and functions in processes of their
// own, which are killed, stopped, confused and replaced. What must hold in the end is always the same: each request was
// done once, and its result is the same whenever it is asked for.
//
//	go test ./test/process -seed N   repeats the random choices of a run
//	go test ./test/process -short    fewer kills
//	go test ./test/process -full     many more
package process

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	beldi "github.com/beldi/beldi/clients/go"
)

var (
	full = flag.Bool("full", false, "kill for minutes, not for one")
	seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of random choices")

	bin string // where the binaries are
)

// patience bounds every wait for something that must happen; it is no measure of how long that may take.
const patience = 3 * time.Minute

func TestMain(m *testing.M) {
	flag.Parse()
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M) (int, error) {
	var err error
	if bin, err = os.MkdirTemp("", "beldi-process"); err != nil {
		return 0, err
	}
	defer os.RemoveAll(bin)
	for _, pkg := range []string{"cmd/beldi", "test/process/app"} {
		cmd := exec.Command("go", "build", "-o", bin+"/", "github.com/beldi/beldi/"+pkg)
		if out, err := cmd.CombinedOutput(); err != nil {
			return 0, fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	fmt.Printf("seed %d\n", *seed)
	return m.Run(), nil
}

// world is the directory of one test: the data and the socket of its sidecar, the gate and the outside of its functions.
type world struct {
	t       *testing.T
	dir     string
	address string
	flags   []string // of the sidecar
	url     string   // REST, once a sidecar is up
	tcp     string   // gRPC by TCP, once a sidecar is up
}

func newWorld(t *testing.T, flags ...string) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "beldi") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, address: "unix://" + filepath.Join(dir, "s")}
	w.flags = append([]string{"serve", "--data", filepath.Join(dir, "data"), "--socket", filepath.Join(dir, "s"),
		"--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--max-attempts", "1000"}, flags...)
	return w
}

// process is one that ends with the test at the latest.
type process struct {
	t     *testing.T
	name  string
	cmd   *exec.Cmd
	log   buffer
	ended chan struct{}
}

func (w *world) start(name string, args ...string) *process {
	w.t.Helper()
	p := &process{t: w.t, name: args[0], cmd: exec.Command(filepath.Join(bin, name), args...), ended: make(chan struct{})}
	p.cmd.Dir = w.dir
	p.cmd.Env = append(os.Environ(), "BELDI_ADDRESS="+w.address, "BELDI_URL="+w.url, "APP_DIR="+w.dir)
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		w.t.Fatalf("start %s: %v", p.name, err)
	}
	go func() {
		_ = p.cmd.Wait() // what it says is in ProcessState
		close(p.ended)
	}()
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() {
			w.t.Logf("%s %d:\n%s", p.name, p.cmd.Process.Pid, p.log.tail())
		}
	})
	return p
}

// app starts a process of a service, and returns when the sidecar knows it.
func (w *world) app(service string) *process {
	w.t.Helper()
	p := w.start("app", service)
	w.until("the functions of "+service+" are known", func() bool {
		if p.hasEnded() {
			w.t.Fatalf("%s has ended:\n%s", service, p.log.tail())
		}
		return p.says("beldi: serving")
	})
	return p
}

// sidecar starts one, and returns when it is up.
func (w *world) sidecar() *process {
	w.t.Helper()
	p := w.start("beldi", w.flags...)
	var note struct {
		Pid        int
		GRPC, HTTP string
	}
	// A killed one leaves its note behind, so the pid counts.
	w.until("the sidecar says where it listens", func() bool {
		if p.hasEnded() {
			w.t.Fatalf("the sidecar has ended:\n%s", p.log.tail())
		}
		text, err := os.ReadFile(filepath.Join(w.dir, "s.json"))
		return err == nil && json.Unmarshal(text, &note) == nil && note.Pid == p.cmd.Process.Pid
	})
	w.url, w.tcp = "http://"+note.HTTP, note.GRPC
	return p
}

func (w *world) until(what string, done func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			w.t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

func (p *process) hasEnded() bool {
	select {
	case <-p.ended:
		return true
	default:
		return false
	}
}

func (p *process) says(text string) bool {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	return bytes.Contains(p.log.b.Bytes(), []byte(text))
}

// kill ends the process and whatever it has started, stopped or not, without a chance to say anything.
func (p *process) kill() {
	if !p.hasEnded() {
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.ended
	}
}

func (p *process) signal(s syscall.Signal) {
	p.t.Helper()
	if err := syscall.Kill(p.cmd.Process.Pid, s); err != nil {
		p.t.Fatalf("signal %s: %v", p.name, err)
	}
}

// stop returns when no thread of the process runs any more.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGSTOP)
	for {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
		if err != nil {
			p.t.Fatalf("stop %s: %v", p.name, err)
		}
		if _, state, _ := strings.Cut(string(text), ") "); strings.HasPrefix(state, "T") {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// exit waits for the process's end, and checks its exit code.
func (p *process) exit(want int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatalf("%s does not end", p.name)
	}
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		p.t.Errorf("%s ended with %s, want exit code %d:\n%s", p.name, p.cmd.ProcessState, want, p.log.tail())
	}
}

// caller is a client that does not give up.
type caller struct {
	address string
	client  *beldi.Client
	// refused, if not nil, is told of each error after which the caller asks again.
	refused func(*beldi.Error)
}

func (c *caller) close() {
	if c.client != nil {
		c.client.Close()
		c.client = nil
	}
}

// call asks with the same key until there is an answer.
func (c *caller) call(target string, input any, key string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		v, err := c.once(ctx, target, input, key)
		var refused *beldi.Error
		if err == nil || !errors.As(err, &refused) || refused.Code != codes.Unavailable || ctx.Err() != nil {
			return string(v.Data), err
		}
		if c.refused != nil {
			c.refused(refused)
		}
		c.close() // a new connection comes sooner than the old one is tried again
		time.Sleep(10 * time.Millisecond)
	}
}

func (c *caller) once(ctx context.Context, target string, input any, key string) (beldi.Value, error) {
	if c.client == nil {
		var err error
		if c.client, err = beldi.NewClient(c.address); err != nil {
			return beldi.Value{}, err
		}
	}
	return beldi.Call[beldi.Value](ctx, c.client, target, input, beldi.Key(key), beldi.Wait(patience))
}

// call is for one request; a test with many has callers.
func (w *world) call(target string, input any, key string) (string, error) {
	c := caller{address: w.address}
	defer c.close()
	return c.call(target, input, key)
}

// cells are all values of a service, as `beldi cells export` prints them, by table and key.
func (w *world) cells(service string) map[string]map[string]json.RawMessage {
	w.t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(filepath.Join(bin, "beldi"), "cells", "export", service, "--address", w.address)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		w.t.Fatalf("export cells: %v\n%s", err, errs.String())
	}
	tables := map[string]map[string]json.RawMessage{}
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		var cell struct {
			Table, Key string
			Value      json.RawMessage
		}
		if err := d.Decode(&cell); err != nil {
			w.t.Fatalf("export cells: %v", err)
		}
		if tables[cell.Table] == nil {
			tables[cell.Table] = map[string]json.RawMessage{}
		}
		tables[cell.Table][cell.Key] = cell.Value
	}
	return tables
}

// outside are the tokens that functions have left outside, with how often each did.
func (w *world) outside() map[string]int {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, "outside"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		w.t.Fatal(err)
	}
	tokens := map[string]int{}
	for _, token := range strings.Fields(string(text)) {
		tokens[token]++
	}
	return tokens
}

// gate is where a function says it is; it goes on when the handler returns.
type gate struct {
	Point, Wanted, Op, Error string
	Token                    string // of an attempt by HTTP
	Attempt                  int
	Over                     bool // the function was told that the attempt is over
}

// gates listens to the functions of this world. The handler is called by many goroutines.
func (w *world) gates(handle func(gate)) {
	w.t.Helper()
	l, err := net.Listen("unix", filepath.Join(w.dir, "gate"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // the test is over
			}
			go func() {
				defer conn.Close()
				var g gate
				if json.NewDecoder(conn).Decode(&g) == nil { // else it was killed while it spoke
					handle(g)
				}
			}()
		}
	}()
}

// buffer is what a process prints.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) tail() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	text := b.b.String()
	return text[max(0, len(text)-4096):]
}
