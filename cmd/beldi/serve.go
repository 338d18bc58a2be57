package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/internal/config"
	"github.com/beldi/beldi/internal/wiring"
	"github.com/beldi/beldi/server"
)

type serveCmd struct {
	settings
	debugging
}

// debugging are the flags for looking into a sidecar, of no use in ordinary operation.
type debugging struct {
	LogLevel string `help:"debug, info, warn or error." enum:"debug,info,warn,error," default:"" placeholder:"LEVEL"`
	Pprof    string `help:"Serve profiles of the sidecar itself at this loopback address." placeholder:"ADDR"`
}

func (d debugging) log(e *env, usual slog.Level) *slog.Logger {
	level := usual
	if d.LogLevel != "" {
		_ = level.UnmarshalText([]byte(d.LogLevel)) // kong has checked it
	}
	return slog.New(slog.NewTextHandler(e.stderr, &slog.HandlerOptions{Level: level}))
}

func (c *serveCmd) Run(e *env) error {
	loaded, err := c.load()
	if err != nil {
		return err
	}
	if err := c.profile(e); err != nil {
		return err
	}
	s, err := start(loaded, c.log(e, slog.LevelInfo))
	if err != nil {
		return err
	}
	select {
	case <-e.ctx.Done():
	case <-s.Done():
	}
	return s.stop()
}

// profile serves net/http/pprof until the process ends.
func (d debugging) profile(e *env) error {
	if d.Pprof == "" {
		return nil
	}
	listener, err := net.Listen("tcp", d.Pprof)
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	if !listener.Addr().(*net.TCPAddr).IP.IsLoopback() {
		return errors.Join(usage{fmt.Errorf("profiles: %s is not a loopback address", d.Pprof)}, listener.Close())
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	fmt.Fprintf(e.stderr, "beldi: profiles at http://%s/debug/pprof/\n", listener.Addr())
	go func() {
		profiles := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
		_ = profiles.Serve(listener)
	}()
	return nil
}

// sidecar is one that runs in this process, with the notes by which others find it.
type sidecar struct {
	*wiring.Sidecar
	note  note
	notes []string
}

// start starts a sidecar. It does not end with a context but by stop: functions need it while they drain.
func start(loaded *config.Loaded, log *slog.Logger) (*sidecar, error) {
	if os.Getenv("GOGC") == "" {
		// A sidecar shares the machine with the functions it serves: its heap is small, so that collecting it twice as often
		// costs little and keeps the peak under load at a half over what lives.
		debug.SetGCPercent(50)
	}
	opts := wiring.Options{
		Realm: loaded.Realm, Store: loaded.Store, Dir: loaded.Dir, Fsync: loaded.Fsync, CacheBytes: loaded.CacheBytes,
		GRPC: loaded.GRPC, HTTP: loaded.HTTP, Socket: loaded.Socket, Token: loaded.Token,
		Lease: loaded.Lease, AttemptTimeout: loaded.AttemptTimeout, MaxAttempts: loaded.MaxAttempts,
		OTLP: loaded.OTLP, Log: log, Version: version,
	}
	for _, name := range sortedNames(loaded.Services) {
		s := loaded.Services[name]
		opts.Services = append(opts.Services, server.Endpoint{Service: name, URL: s.Endpoint, Functions: s.Functions})
	}
	running, err := wiring.Start(context.Background(), opts)
	if err != nil {
		return nil, startFailed(loaded, err)
	}
	s := &sidecar{Sidecar: running}
	if err := s.leaveNotes(loaded); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	return s, nil
}

func (s *sidecar) stop() error {
	for _, file := range s.notes {
		_ = os.Remove(file) // a note that stays does no harm: who reads it asks the address in it
	}
	return s.Close()
}

// startFailed says which flag helps.
func startFailed(loaded *config.Loaded, err error) error {
	if errors.Is(err, pebble.ErrLocked) {
		return coded{err, exitLocked, "stop it, or choose another directory: --data DIR"}
	}
	taken := func(flag string) error {
		return coded{err, exitUsage, "something else listens there; choose another address: " + flag}
	}
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE) && errors.As(err, &op) && op.Addr.String() == loaded.GRPC:
		return taken("--grpc 127.0.0.1:PORT (0 takes any that is free)")
	case errors.Is(err, syscall.EADDRINUSE) && errors.As(err, &op) && op.Addr.String() == loaded.HTTP:
		return taken("--http 127.0.0.1:PORT (0 takes any that is free)")
	case loaded.Socket != "" && answers(context.Background(), "unix://"+loaded.Socket, loaded.Token):
		return taken("--socket PATH")
	}
	return err
}

// A note tells other processes of this user where a sidecar can be reached. It lies beside the socket and in the data
// directory.
type note struct {
	Pid    int    `json:"pid"`
	Socket string `json:"socket,omitempty"`
	GRPC   string `json:"grpc,omitempty"`
	HTTP   string `json:"http,omitempty"`
	Store  string `json:"store"`
	Dir    string `json:"dir,omitempty"`
}

const noteName = "sidecar.json"

func (s *sidecar) leaveNotes(loaded *config.Loaded) error {
	at := s.Addresses()
	s.note = note{Pid: os.Getpid(), Socket: at.Socket, GRPC: at.GRPC, HTTP: at.HTTP, Store: loaded.Store}
	if at.Socket != "" {
		s.notes = append(s.notes, at.Socket+".json")
	}
	if loaded.Store == "pebble" {
		dir, err := filepath.Abs(loaded.Dir)
		if err != nil {
			return fmt.Errorf("note where the sidecar is: %w", err)
		}
		s.note.Dir = dir
		s.notes = append(s.notes, filepath.Join(dir, noteName))
	}
	text, err := json.Marshal(s.note)
	if err != nil {
		return fmt.Errorf("note where the sidecar is: %w", err)
	}
	for _, file := range s.notes {
		// Renamed into place: a reader finds a whole note or none.
		err := errors.Join(os.WriteFile(file+".new", text, 0o600), os.Rename(file+".new", file))
		if err != nil {
			return fmt.Errorf("note where the sidecar is: %w", err)
		}
	}
	return nil
}

func readNote(file string) (note, error) {
	var n note
	text, err := os.ReadFile(file)
	if err != nil {
		return n, err
	}
	return n, json.Unmarshal(text, &n)
}

// address is where functions reach the sidecar by gRPC.
func (n note) address() string {
	if n.Socket != "" {
		return "unix://" + n.Socket
	}
	return n.GRPC
}

func (n note) url() string {
	if n.HTTP == "" {
		return ""
	}
	return "http://" + n.HTTP
}
