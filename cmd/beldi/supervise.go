package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A child is one command that is kept running.
type child struct {
	name string
	args []string
	env  []string
	out  io.Writer
	say  func(format string, args ...any)
	// restart asks for a fresh process: its sources have changed.
	restart chan struct{}
}

const (
	backoffLeast = 100 * time.Millisecond
	backoffMost  = 5 * time.Second
	// A process that ran this long was healthy: what ends it now is news, and the back-off starts over.
	healthy = 10 * time.Second
	// SDKs drain for up to 10 s after SIGTERM.
	stopLimit = 12 * time.Second
)

// run keeps the command running until ctx ends, then stops it.
func (c *child) run(ctx context.Context) {
	// The kernel sends Pdeathsig when the thread that started the process ends, so this goroutine keeps its thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	wait := backoffLeast
	for {
		began := time.Now()
		why, asked := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if asked {
			wait = backoffLeast
			continue
		}
		if time.Since(began) > healthy {
			wait = backoffLeast
		}
		c.say("%s %s; starting it again in %s", c.name, why, wait)
		select {
		case <-time.After(wait):
		case <-c.restart:
		case <-ctx.Done():
			return
		}
		wait = min(2*wait, backoffMost)
	}
}

// once runs the command until it exits by itself, a restart is asked for, or ctx ends.
func (c *child) once(ctx context.Context) (why string, asked bool) {
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Env = c.env
	cmd.Stdout, cmd.Stderr = c.out, c.out
	cmd.SysProcAttr = childAttr()
	// A grandchild that keeps the pipe open must not keep us waiting.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		return "cannot be started: " + err.Error(), false
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // what it returns is in ProcessState
		close(done)
	}()
	select {
	case <-done:
	case <-c.restart:
		asked = true
	case <-ctx.Done():
	}
	group := -cmd.Process.Pid
	if ended(done) {
		_ = syscall.Kill(group, syscall.SIGKILL) // helpers that the command left behind
		return how(cmd.ProcessState), asked
	}
	_ = syscall.Kill(group, syscall.SIGTERM)
	select {
	case <-done:
	case <-time.After(stopLimit):
		c.say("%s does not stop; killing it", c.name)
	}
	_ = syscall.Kill(group, syscall.SIGKILL)
	<-done
	return how(cmd.ProcessState), asked
}

func ended(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

func how(s *os.ProcessState) string {
	if status, ok := s.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return fmt.Sprintf("was killed by signal %d (%s)", int(status.Signal()), status.Signal())
	}
	return fmt.Sprintf("exited with code %d", s.ExitCode())
}

// commands splits what follows the flags of `beldi run`: -- CMD ARGS -- CMD ARGS.
func commands(args []string) [][]string {
	var list [][]string
	next := true
	for _, arg := range args {
		if arg == "--" {
			next = true
			continue
		}
		if next {
			list = append(list, nil)
			next = false
		}
		list[len(list)-1] = append(list[len(list)-1], arg)
	}
	return list
}

// childNames finds a short, unique name for each command: its script if it is an interpreter that runs one.
func childNames(list [][]string) []string {
	seen := map[string]int{}
	names := make([]string, len(list))
	for i, args := range list {
		name := filepath.Base(args[0])
		for _, arg := range args[1:] {
			if strings.ContainsAny(arg, "./") && !strings.HasPrefix(arg, "-") && exists(arg) {
				name = filepath.Base(arg)
				break
			}
		}
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, seen[name])
		}
		names[i] = name
	}
	return names
}

// prefixed puts a name before each line. Writers of one lock share an output without mixing their lines.
type prefixed struct {
	mu     *sync.Mutex
	to     io.Writer
	prefix string
	rest   []byte
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = append(p.rest, b...)
	for {
		end := bytes.IndexByte(p.rest, '\n')
		if end < 0 {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.to, "%s%s", p.prefix, p.rest[:end+1]); err != nil {
			return 0, err
		}
		p.rest = p.rest[end+1:]
	}
}
