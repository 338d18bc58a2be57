package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// patience bounds every wait for something that must happen; it is no measure of how long that may take.
const patience = 2 * time.Minute

// build builds a command of this module once for all tests, and returns the binary.
func build(t *testing.T, pkg string) string {
	t.Helper()
	builds.Lock()
	defer builds.Unlock()
	if path := builds.done[pkg]; path != "" {
		return path
	}
	path := filepath.Join(builds.dir, filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", path, pkg)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, out)
	}
	builds.done[pkg] = path
	return path
}

var builds = struct {
	sync.Mutex
	dir  string
	done map[string]string
}{done: make(map[string]string)}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "beldi-conformance")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	builds.dir = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// sidecar is a real one, in a process of its own, with a fresh store.
type sidecar struct {
	functions beldiv1.FunctionsClient
	admin     beldiv1.AdminClient
	address   string // gRPC, as BELDI_ADDRESS
	url       string // REST
}

func startSidecar(t *testing.T, flags ...string) *sidecar {
	t.Helper()
	dir, err := os.MkdirTemp("", "beldi") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "beldi.sock")
	cmd := exec.Command(build(t, "github.com/beldi/beldi/cmd/beldi"), append([]string{"serve",
		"--data", filepath.Join(dir, "data"), "--socket", socket, "--grpc", "off", "--http", "127.0.0.1:0"}, flags...)...)
	cmd.Dir = dir
	start(t, "sidecar", cmd)

	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	// The note beside the socket says where a sidecar listens.
	var note struct{ HTTP string }
	waitUntil(t, "the sidecar says where it listens", func() bool {
		text, err := os.ReadFile(socket + ".json")
		return err == nil && json.Unmarshal(text, &note) == nil
	})
	return &sidecar{beldiv1.NewFunctionsClient(conn), beldiv1.NewAdminClient(conn), "unix://" + socket, "http://" + note.HTTP}
}

func waitUntil(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s until %s", patience, what)
		}
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// waitFor waits until the functions of a service can run.
func (s *sidecar) waitFor(t *testing.T, service string, functions int) {
	t.Helper()
	waitUntil(t, fmt.Sprintf("the app offers %d functions of service %s", functions, service), func() bool {
		list, err := s.functions.ListFunctions(t.Context(), &beldiv1.ListFunctionsRequest{})
		if err != nil {
			t.Fatalf("list functions: %v", err)
		}
		live := 0
		for _, f := range list.GetFunctions() {
			if f.GetService() == service && f.GetWorkers() > 0 {
				live++
			}
		}
		return live >= functions
	})
}

// supervise runs an app as its service, again whenever it dies, until the test ends. It counts the deaths.
func (s *sidecar) supervise(t *testing.T, command []string, service, dir string) *atomic.Int64 {
	t.Helper()
	deaths := new(atomic.Int64)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	var log syncBuffer
	t.Cleanup(func() {
		cancel()
		<-done
		if t.Failed() {
			t.Logf("app of service %s:\n%s", service, log.String())
		}
	})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			began := time.Now()
			cmd := s.command(ctx, command, service, dir)
			cmd.Stdout, cmd.Stderr = &log, &log
			err := cmd.Run()
			fmt.Fprintf(&log, "[exit: %v]\n", err)
			deaths.Add(1)
			if time.Since(began) < 50*time.Millisecond { // it cannot even start; do not spin
				time.Sleep(50 * time.Millisecond)
			}
		}
	}()
	return deaths
}

func (s *sidecar) command(ctx context.Context, command []string, service, dir string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 15 * time.Second
	cmd.Env = append(os.Environ(), "BELDI_ADDRESS="+s.address, "BELDI_URL="+s.url,
		"CONFORMANCE_SERVICE="+service, "CONFORMANCE_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// start starts a process that ends with the test.
func start(t *testing.T, name string, cmd *exec.Cmd) {
	t.Helper()
	var log syncBuffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if t.Failed() {
			t.Logf("%s:\n%s", name, log.String())
		}
	})
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
