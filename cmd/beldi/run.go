package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/beldi/beldi/backends/pebble"
	"github.com/beldi/beldi/internal/config"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

type runCmd struct {
	settings
	debugging
	Watch   bool     `help:"Restart the functions when a source file below this directory changes."`
	Command []string `arg:"" passthrough:"" help:"Commands to run and keep running: -- CMD ARGS -- CMD ARGS."`
}

func (c *runCmd) Run(e *env) error {
	list := commands(c.Command)
	if len(list) == 0 {
		return usage{errors.New("run: which command? beldi run -- CMD ARGS")}
	}
	loaded, err := c.load()
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { fmt.Fprintf(e.stderr, "beldi: "+format+"\n", args...) }

	at, err := join(e.ctx, loaded)
	if err != nil {
		return err
	}
	if at != nil {
		say("joined the sidecar that runs already (pid %d): %s", at.Pid, at.describe())
		return c.supervise(e, list, *at, loaded.Token, nil, say)
	}
	if err := c.profile(e); err != nil {
		return err
	}
	s, err := start(loaded, c.log(e, slog.LevelWarn))
	if errors.Is(err, pebble.ErrLocked) {
		if at, err = await(e.ctx, loaded, err); err != nil {
			return err
		}
		say("joined the sidecar that uses %s (pid %d): %s", loaded.Dir, at.Pid, at.describe())
		return c.supervise(e, list, *at, loaded.Token, nil, say)
	}
	if err != nil {
		return err
	}
	say("%s, fsync %s; %s", storeName(s.note), onOff(loaded.Fsync && loaded.Store == "pebble"), s.note.describe())
	return errors.Join(c.supervise(e, list, s.note, loaded.Token, s.Done(), say), s.stop())
}

func storeName(n note) string {
	if n.Dir == "" {
		return "store " + n.Store
	}
	return fmt.Sprintf("store %s in %s", n.Store, n.Dir)
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

func (n note) describe() string {
	var grpc, all []string
	if n.Socket != "" {
		grpc = append(grpc, "unix://"+n.Socket)
	}
	if n.GRPC != "" {
		grpc = append(grpc, n.GRPC)
	}
	if len(grpc) > 0 {
		all = append(all, "gRPC "+strings.Join(grpc, " and "))
	}
	if n.HTTP != "" {
		all = append(all, "REST "+n.url())
	}
	return strings.Join(all, ", ")
}

// supervise runs the commands until the context ends, or the sidecar does.
func (c *runCmd) supervise(e *env, list [][]string, at note, token string, sidecarDone <-chan struct{}, say func(string, ...any)) error {
	ctx, cancel := context.WithCancel(e.ctx)
	defer cancel()
	environ := append(os.Environ(), "BELDI_ADDRESS="+at.address(), "BELDI_URL="+at.url())
	if token != "" {
		environ = append(environ, "BELDI_TOKEN="+token)
	}
	var children sync.WaitGroup
	list, all := slices.Clone(list), make([]*child, len(list))
	var lock sync.Mutex
	for i, name := range childNames(list) {
		var out io.Writer = e.stdout
		if len(list) > 1 {
			out = &prefixed{mu: &lock, to: e.stdout, prefix: prefix(name, i, isTerminal(e.stdout))}
		}
		all[i] = &child{name: name, args: list[i], env: environ, out: out, say: say, restart: make(chan struct{}, 1)}
		children.Go(func() { all[i].run(ctx) })
	}
	if c.Watch {
		children.Go(func() {
			watch(ctx, ".", 300*time.Millisecond, func(file string) {
				say("%s changed; starting the functions again", file)
				for _, child := range all {
					select {
					case child.restart <- struct{}{}:
					default: // one is asked for already
					}
				}
			})
		})
	}
	select {
	case <-ctx.Done():
	case <-sidecarDone:
		say("the sidecar has ended")
	}
	cancel()
	children.Wait()
	return nil
}

// prefix is the name, padded, in one of six colours.
func prefix(name string, i int, colour bool) string {
	if !colour {
		return fmt.Sprintf("%-12s | ", name)
	}
	return fmt.Sprintf("\x1b[%dm%-12s |\x1b[0m ", 31+(i+1)%6, name)
}

// join finds the sidecar that runs already at the socket; nil if none does.
func join(ctx context.Context, loaded *config.Loaded) (*note, error) {
	if loaded.Socket == "" || !exists(loaded.Socket) {
		return nil, nil
	}
	if !answers(ctx, "unix://"+loaded.Socket, loaded.Token) {
		return nil, nil
	}
	n, err := readNote(loaded.Socket + ".json")
	if err != nil {
		return nil, fmt.Errorf("join the sidecar at %s: %w", loaded.Socket, err)
	}
	// Who asked for a store of their own must not get another one in silence.
	other := ""
	if loaded.Origin("store.kind") != "default" && n.Store != loaded.Store {
		other = "store " + n.Store
	} else if dir, err := filepath.Abs(loaded.Dir); err == nil && loaded.Origin("store.dir") != "default" && n.Dir != dir {
		other = storeName(n)
	}
	if other != "" {
		return nil, coded{fmt.Errorf("run: the sidecar at %s (pid %d) has another store: %s", loaded.Socket, n.Pid, other), exitUsage,
			"leave --store and --data out to join it, or start one beside it with its own --socket, --grpc and --http"}
	}
	return &n, nil
}

// await finds the sidecar that has our data directory locked. It may be starting just now.
func await(ctx context.Context, loaded *config.Loaded, locked error) (*note, error) {
	const tries, pause = 30, 100 * time.Millisecond
	for range tries {
		n, err := readNote(filepath.Join(loaded.Dir, noteName))
		if err == nil && answers(ctx, n.address(), loaded.Token) {
			return &n, nil
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, locked
		}
	}
	return nil, locked
}

func answers(ctx context.Context, address, token string) bool {
	conn, err := dial(address, token)
	if err != nil {
		return false
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	_, err = beldiv1.NewAdminClient(conn).GetInfo(ctx, &beldiv1.GetInfoRequest{})
	return err == nil
}

func sortedNames(services map[string]config.Service) []string {
	return slices.Sorted(maps.Keys(services))
}
