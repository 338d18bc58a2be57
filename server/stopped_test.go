package server_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"

	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

// envStopped makes this test binary the worker that TestStoppedWorker stops. Its value is the sidecar's address.
const envStopped = "BELDI_TEST_STOPPED_WORKER"

// A worker that is stopped (SIGSTOP, a machine that hangs) keeps its connection. Pings find it out – after 10 s – and its attempt runs elsewhere.
func TestStoppedWorker(t *testing.T) {
	if target := os.Getenv(envStopped); target != "" {
		stopped(t, target)
		return
	}
	t.Parallel()
	s := start(t)
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStoppedWorker$")
	child.Env = append(os.Environ(), envStopped+"="+s.Addresses().GRPC)
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		child.Process.Kill()
		child.Wait()
	}()
	lines := bufio.NewScanner(out)
	lines.Scan() // it is there
	done := s.invoke("f", "", "null")
	lines.Scan() // it has the attempt
	if lines.Text() != "attempt 1" {
		t.Fatalf("the worker said %q, %v", lines.Text(), lines.Err())
	}
	if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	w := s.worker("f")
	a := w.attempt()
	if a.GetNumber() != 2 {
		t.Errorf("attempt %v, want the second", a)
	}
	w.steps(complete(a.GetAttempt(), "1"))
	wantOutput(t, done, "1")
}

func stopped(t *testing.T, target string) {
	stream, err := beldiv1.NewWorkersClient(dial(t, target)).Work(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&beldiv1.FromWorker{Hello: &beldiv1.Hello{Service: "svc", Functions: []string{"f"}}}); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if m.GetWelcome() != nil {
			fmt.Println("here")
		}
		for _, a := range m.GetAttempts() {
			fmt.Println("attempt", a.GetNumber())
		}
	}
}
