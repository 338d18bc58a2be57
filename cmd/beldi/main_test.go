package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	beldi "github.com/beldi/beldi/clients/go"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"beldi": main, "fn": function, "fork": fork})
}

// The scripts run beldi and functions as processes of their own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			socket := filepath.Join(e.WorkDir, "s")
			for _, v := range os.Environ() {
				if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "BELDI_") {
					e.Setenv(name, "")
				}
			}
			e.Setenv("BELDI_SOCKET", socket)
			e.Setenv("BELDI_ADDRESS", "unix://"+socket)
			e.Setenv("BELDI_GRPC", "off")
			e.Setenv("BELDI_HTTP", "off")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":   exits,
			"until":   until,
			"appears": appears,
			"differs": differs,
			"signal":  signalPid,
			"gone":    gone,
		},
	})
}

// exits CODE COMMAND…: the command ends with the code.
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// until COMMAND…: runs the command again and again until it succeeds.
func until(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, strings.Join(args, " "), func() bool { return ts.Exec(args[0], args[1:]...) == nil })
}

// appears FILE: waits until there is such a file.
func appears(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, args[0], func() bool { return exists(ts.MkAbs(args[0])) })
}

// differs FILE OLD: waits until the files differ.
func differs(ts *testscript.TestScript, _ bool, args []string) {
	poll(ts, args[0], func() bool { return ts.ReadFile(args[0]) != ts.ReadFile(args[1]) })
}

// signal NAME FILE: sends the signal to the process whose id is in the file.
func signalPid(ts *testscript.TestScript, _ bool, args []string) {
	signals := map[string]syscall.Signal{"KILL": syscall.SIGKILL, "TERM": syscall.SIGTERM}
	ts.Check(syscall.Kill(readPid(ts, args[1]), signals[args[0]]))
}

// gone FILE: waits until the process whose id is in the file has ended.
func gone(ts *testscript.TestScript, _ bool, args []string) {
	pid := readPid(ts, args[0])
	poll(ts, fmt.Sprintf("end of process %d", pid), func() bool { return !alive(pid) })
}

// poll waits for what other processes do. Its limit is for scripts that hang, and far beyond what a slow machine needs.
func poll(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(time.Minute); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited in vain for: %s", what)
		}
	}
}

// alive says whether a process runs. One that has ended and was not waited for (its parent was killed, and there is no
// init that waits) does not.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return syscall.Kill(pid, 0) == nil && !os.IsNotExist(err)
	}
	return !bytes.Contains(stat, []byte(") Z "))
}

// readPid reads a process id, or a sidecar's note.
func readPid(ts *testscript.TestScript, file string) int {
	text := ts.ReadFile(file)
	if pid, err := strconv.Atoi(text); err == nil {
		return pid
	}
	var n note
	ts.Check(json.Unmarshal([]byte(text), &n))
	return n.Pid
}

// function is the process that the scripts run beside the sidecar. Its first argument is a file for its process id.
func function() {
	if len(os.Args) > 1 {
		tmp := os.Args[1] + ".new"
		if os.WriteFile(tmp, []byte(strconv.Itoa(os.Getpid())), 0o600) != nil || os.Rename(tmp, os.Args[1]) != nil {
			os.Exit(9)
		}
	}
	svc := beldi.NewService("t")
	beldi.Handle(svc, "echo", func(_ *beldi.Context, in beldi.Value) (beldi.Value, error) { return in, nil })
	beldi.Handle(svc, "count", func(ctx *beldi.Context, key string) (int, error) {
		return beldi.Update[int](ctx, "counts", key, "found ? value + 1 : 1", nil)
	})
	beldi.Handle(svc, "fail", func(_ *beldi.Context, in any) (any, error) {
		return nil, beldi.Fail("no luck", beldi.Code("NO"), beldi.Details(in))
	})
	beldi.Handle(svc, "hang", func(ctx *beldi.Context, _ any) (any, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	})
	beldi.Handle(svc, "exit", func(ctx *beldi.Context, _ any) (int, error) {
		if ctx.Attempt() == 1 {
			os.Exit(7)
		}
		return ctx.Attempt(), nil
	})
	if err := svc.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "fn:", err)
		os.Exit(1)
	}
}

// fork starts fn with its arguments and waits, as a shell would.
func fork() {
	cmd := exec.Command("fn", os.Args[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		os.Exit(1)
	}
}
