package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child of this one.
type process struct {
	cmd *exec.Cmd
	log *logBuffer
}

func launch(env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.Command(name, args...), log: &logBuffer{}}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return p, nil
}

// stop ends the process in good order.
func (p *process) stop() error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer kill.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w\n%s", p.cmd.Path, err, p.log)
	}
	return nil
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux platform that Go runs on.
const clockTick = 10 * time.Millisecond

// cpu returns the CPU time that the process has used, in and for its own code.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold anything; utime and stime are the 12th and 13th field after it.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	ticks := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("read /proc/PID/stat: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

var (
	residentLine = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
	peakLine     = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
)

// resident returns memory of the process in MiB: now, and the most there ever was.
func (p *process) resident() (now, peak float64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for _, v := range []struct {
		line *regexp.Regexp
		into *float64
	}{{residentLine, &now}, {peakLine, &peak}} {
		m := v.line.FindSubmatch(text)
		if m == nil {
			return 0, 0, fmt.Errorf("read /proc/PID/status: no %s", v.line)
		}
		kb, err := strconv.Atoi(string(m[1]))
		if err != nil {
			return 0, 0, err
		}
		*v.into = float64(kb) / 1024
	}
	return now, peak, nil
}

// stage is a sidecar on a fresh store, with the function beside it.
type stage struct {
	b        *benchmark
	dir      string
	sidecar  *process
	function *process
	socket   string // unix://…
	tcp      string
	profiles string // URL; "" without
}

func (b *benchmark) setUp(ctx context.Context, overTCP bool) (*stage, error) {
	dir, err := os.MkdirTemp(b.dir, "stage")
	if err != nil {
		return nil, err
	}
	s := &stage{b: b, dir: dir}
	socket := filepath.Join(dir, "s")
	args := []string{"serve", "--store", "pebble", "--data", filepath.Join(dir, "data"), "--fsync",
		"--socket", socket, "--grpc", "127.0.0.1:0", "--http", "off"}
	if b.profile != "" {
		args = append(args, "--pprof", "127.0.0.1:0")
	}
	if s.sidecar, err = launch(nil, b.sidecar, args...); err != nil {
		return nil, err
	}
	var note struct{ Socket, GRPC string }
	err = until(ctx, func() bool {
		text, err := os.ReadFile(socket + ".json")
		return err == nil && json.Unmarshal(text, &note) == nil
	})
	if err != nil {
		return nil, fmt.Errorf("wait for the sidecar: %w\n%s", err, s.sidecar.log)
	}
	s.socket, s.tcp = "unix://"+socket, note.GRPC
	if m := regexp.MustCompile(`http://\S+/debug/pprof/`).FindString(s.sidecar.log.String()); m != "" {
		s.profiles = m
	}
	address := s.socket
	if overTCP {
		address = s.tcp
	}
	if s.function, err = launch([]string{"BELDI_ADDRESS=" + address}, b.self, "function"); err != nil {
		return nil, err
	}
	if err := waitForFunction(ctx, s.socket); err != nil {
		return nil, fmt.Errorf("wait for the function: %w\n%s", err, s.function.log)
	}
	return s, nil
}

func (s *stage) tearDown() error {
	if err := s.function.stop(); err != nil {
		return err
	}
	return s.sidecar.stop()
}

// until asks again and again for a condition.
func until(ctx context.Context, done func() bool) error {
	deadline := time.Now().Add(30 * time.Second)
	for !done() {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return errNoAnswer
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

// fetchProfile saves a profile of the sidecar.
func (s *stage) fetchProfile(name, query string) error {
	answer, err := http.Get(s.profiles + query)
	if err != nil {
		return fmt.Errorf("fetch profile: %w", err)
	}
	defer answer.Body.Close()
	if err := os.MkdirAll(s.b.profile, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(s.b.profile, name))
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(f, answer.Body)
	return err
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
