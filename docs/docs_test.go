// Package docs has the tests of the documentation: what it says is compared with the code, and the quickstart is run.
package docs

import (
	"bytes"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/beldi/beldi/internal/config"
)

var update = flag.Bool("update", false, "write the settings table of operations.md anew")

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// TestSettings: the table in operations.md is config.Settings.
func TestSettings(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "$XDG_RUNTIME_DIR")
	defaults := config.Default()
	var b strings.Builder
	b.WriteString("| key | flag | variable | default | value | means |\n|---|---|---|---|---|---|\n")
	for _, s := range config.Settings {
		value := "–"
		if v := s.Get(&defaults); v != "" {
			value = "`" + v + "`"
		}
		fmt.Fprintf(&b, "| `%s` | `--%s` | `%s` | %s | %s | %s |\n", s.Key, s.Flag, s.Env(), value, s.Wants, s.Help)
	}
	want := b.String()
	text := read(t, "operations.md")
	before, rest, _ := strings.Cut(text, "<!-- settings -->\n")
	got, after, ok := strings.Cut(rest, "<!-- /settings -->")
	if !ok {
		t.Fatal("operations.md has no place for the settings")
	}
	if *update {
		if err := os.WriteFile("operations.md", []byte(before+"<!-- settings -->\n"+want+"<!-- /settings -->"+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("operations.md: the settings have changed; go test ./docs -update writes them (-want +got):\n%s", diff)
	}
}

// TestReasons: errors.md has every reason that the server knows, and no other.
func TestReasons(t *testing.T) {
	known := map[string]bool{}
	for _, m := range regexp.MustCompile(`"([A-Z]+(?:_[A-Z]+)*)"(?::\s+codes\.|\n)`).FindAllStringSubmatch(read(t, "../server/errors.go"), -1) {
		known[m[1]] = true
	}
	if len(known) < 20 {
		t.Fatalf("found only %d reasons in server/errors.go", len(known))
	}
	written := map[string]bool{}
	for _, m := range regexp.MustCompile("`([A-Z]+(?:_[A-Z]+)*)`").FindAllStringSubmatch(read(t, "errors.md"), -1) {
		written[m[1]] = true
	}
	delete(written, "BELDI_TOKEN")
	if diff := cmp.Diff(known, written); diff != "" {
		t.Errorf("errors.md (-server +docs):\n%s", diff)
	}
}

// TestLinks: relative links lead to files that are there.
func TestLinks(t *testing.T) {
	link, code := regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`), regexp.MustCompile("(?s)```.*?```")
	err := filepath.WalkDir("..", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || len(d.Name()) > 2 && d.Name()[0] == '.') {
			return fs.SkipDir
		}
		if filepath.Ext(file) != ".md" {
			return nil
		}
		for _, m := range link.FindAllStringSubmatch(code.ReplaceAllString(read(t, file), ""), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), m[1])); err != nil {
				t.Errorf("%s: link to %s: %v", file, m[1], err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestPaths: files that the page on architecture names are there.
func TestPaths(t *testing.T) {
	for _, m := range regexp.MustCompile("`([a-z]+/[a-z0-9_./-]*)`").FindAllStringSubmatch(read(t, "../ARCHITECTURE.md"), -1) {
		// Rooms of a room (`memory/` of `backends/`) are named without it.
		if nested, err := filepath.Glob("../*/" + strings.TrimSuffix(m[1], "/")); err != nil || !exists("../"+m[1]) && len(nested) == 0 {
			t.Errorf("ARCHITECTURE.md: %s is not there", m[1])
		}
	}
}

// TestQuickstart runs the README: its function beside a sidecar, and its commands with the output that it shows. It
// needs the Python SDK in .venv (make deps).
func TestQuickstart(t *testing.T) {
	readme := read(t, "../README.md")
	block := func(language string) string {
		_, rest, _ := strings.Cut(readme, "```"+language+"\n")
		text, _, ok := strings.Cut(rest, "```")
		if !ok {
			t.Fatalf("README.md has no block of %s", language)
		}
		return text
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	beldi := filepath.Join(dir, "beldi")
	if out, err := exec.Command("go", "build", "-o", beldi, "../cmd/beldi").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "hotel.py"), []byte(block("python")), 0o600); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	env := append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "BELDI_ADDRESS=unix://"+socket)

	run := exec.Command(beldi, "run", "--socket", socket, "--grpc", "off", "--http", "off", "--",
		filepath.Join(root, ".venv/bin/python"), "hotel.py")
	run.Dir, run.Env = dir, env
	var output bytes.Buffer
	run.Stdout, run.Stderr = &output, &output
	if err := run.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- run.Wait() }()
	defer func() {
		_ = run.Process.Signal(syscall.SIGTERM)
		if err := <-ended; err != nil {
			t.Errorf("beldi run: %v\n%s", err, output.String())
		}
	}()
	shell := func(command string) string {
		cmd := exec.Command("sh", "-c", command)
		cmd.Dir, cmd.Env = dir, env
		out, _ := cmd.CombinedOutput() // an error shows in the output
		return string(out)
	}
	for end := time.Now().Add(time.Minute); !strings.Contains(shell("beldi functions"), "reserve"); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("hotel.py did not announce itself:\n%s", shell("beldi functions"))
		}
	}
	for _, part := range strings.Split(block("console"), "$ ")[1:] {
		command, want, _ := strings.Cut(part, "\n")
		if got := shell(command); got != want {
			t.Errorf("$ %s\n%s\nREADME.md shows:\n%s", command, got, want)
		}
	}
}
