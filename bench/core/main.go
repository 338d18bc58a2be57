// Command core measures a sidecar on the embedded store, with fsync, beside one function in Go, and compares the figures with
// their goals. Sidecar, function and load driver are processes of their own on this machine; latencies come from a histogram of
// every request after a warm-up, CPU time and memory from /proc.
//
//	go run ./bench/core [-seconds 5] [-only latency,load] [-out bench/results/core.json] [-profile DIR]
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	// The function and the load driver are this program again.
	parts := map[string]func(context.Context, []string) error{"function": serveFunctions, "load": drive}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	run, args := bench, os.Args[1:]
	if len(args) > 0 && parts[args[0]] != nil {
		run, args = parts[args[0]], args[1:]
	}
	if err := run(ctx, args); err != nil {
		fmt.Fprintln(os.Stderr, "bench/core:", err)
		os.Exit(1)
	}
}

// benchmark is what the parts share.
type benchmark struct {
	seconds time.Duration // of each measurement under load
	sidecar string        // the binary
	self    string        // this one
	dir     string        // for stores and sockets
	profile string        // directory for profiles; "" for none
	figures figures
}

var sections = []struct {
	name string
	run  func(*benchmark, context.Context) error
}{
	{"calls", (*benchmark).storeCalls},
	{"start", (*benchmark).coldStart},
	{"latency", (*benchmark).latency},
	{"load", (*benchmark).load},
	{"growth", (*benchmark).growth},
}

func bench(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("core", flag.ContinueOnError)
	seconds := flags.Float64("seconds", 5, "how long each measurement under load takes")
	only := flags.String("only", "", "sections to run, separated by commas: calls, start, latency, load, growth")
	out := flags.String("out", "bench/results/core.json", "where the figures go")
	profile := flags.String("profile", "", "directory for CPU and heap profiles of the sidecar under load")
	parent := flags.String("dir", "", "directory for the stores, on the disk to be measured (default: a temporary directory)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	b := &benchmark{seconds: time.Duration(*seconds * float64(time.Second)), profile: *profile}
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp(*parent, "beldi-bench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	b.sidecar = filepath.Join(b.dir, "beldi")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.sidecar, "github.com/beldi/beldi/cmd/beldi")
	build.Env = append(os.Environ(), "CGO_ENABLED=0") // as in the Makefile
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the sidecar: %w\n%s", err, text)
	}
	b.figures.commit = commit(ctx)
	b.figures.command = strings.Join(append([]string{"go run ./bench/core"}, args...), " ")
	fmt.Printf("%s, %d CPUs, commit %s\n", runtime.Version(), runtime.NumCPU(), b.figures.commit)

	chosen := strings.Split(*only, ",")
	for _, s := range sections {
		if *only != "" && !slices.Contains(chosen, s.name) {
			continue
		}
		fmt.Printf("\n%s\n", s.name)
		if err := s.run(b, ctx); err != nil {
			return fmt.Errorf("section %s: %w", s.name, err)
		}
	}
	return b.figures.write(*out)
}

// commit names what is measured; "-dirty" if the work tree differs.
func commit(ctx context.Context) string {
	text, err := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// figure is one line of the results.
type figure struct {
	Figure string  `json:"figure"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	// Goal is "≤ 1" or "≥ 5000"; "" for figures that only inform.
	Goal    string `json:"goal"`
	Met     *bool  `json:"met"`
	Command string `json:"command"`
	Commit  string `json:"commit"`
}

type figures struct {
	command, commit string
	list            []figure
}

// A goal is a limit on a figure.
type goal struct {
	sign  string
	limit float64
}

func atMost(limit float64) goal  { return goal{"≤", limit} }
func atLeast(limit float64) goal { return goal{"≥", limit} }

var inform goal

func (f *figures) add(name string, value float64, unit string, g goal) {
	line := figure{Figure: name, Value: round(value), Unit: unit, Command: f.command, Commit: f.commit}
	verdict := ""
	if g != inform {
		met := value <= g.limit
		if g.sign == "≥" {
			met = value >= g.limit
		}
		line.Goal, line.Met = fmt.Sprintf("%s %g", g.sign, g.limit), &met
		verdict = "met"
		if !met {
			verdict = "MISSED"
		}
	}
	f.list = append(f.list, line)
	fmt.Printf("  %-72s %10g %-8s %-10s %s\n", name, line.Value, unit, line.Goal, verdict)
}

// round keeps four significant digits of small figures.
func round(v float64) float64 {
	for scale := 1.0; scale <= 1e5; scale *= 10 {
		if v*scale >= 1000 || v*scale <= -1000 || scale == 1e5 {
			return float64(int64(v*scale+0.5)) / scale
		}
	}
	return v
}

func (f *figures) write(path string) error {
	text, err := json.MarshalIndent(f.list, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(path, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("write the figures: %w", err)
	}
	missed := 0
	for _, line := range f.list {
		if line.Met != nil && !*line.Met {
			missed++
		}
	}
	fmt.Printf("\n%d figures in %s, %d goals missed\n", len(f.list), path, missed)
	return nil
}

var errNoAnswer = errors.New("no answer in time")
