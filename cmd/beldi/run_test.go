package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCommands(t *testing.T) {
	for _, c := range []struct {
		args string
		want [][]string
	}{
		{"-- a", [][]string{{"a"}}},
		{"-- a -x y -- b", [][]string{{"a", "-x", "y"}, {"b"}}},
		{"a b", [][]string{{"a", "b"}}},
		{"-- a -- -- b --", [][]string{{"a"}, {"b"}}},
		{"--", nil},
	} {
		if diff := cmp.Diff(c.want, commands(strings.Fields(c.args))); diff != "" {
			t.Errorf("commands(%s) (-want +got):\n%s", c.args, diff)
		}
	}
}

func TestChildNames(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("hotel.py", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	got := childNames([][]string{{"python", "-u", "hotel.py", "--x"}, {"/opt/fn"}, {"python", "hotel.py"}, {"flask", "--app", "none.py"}})
	if diff := cmp.Diff([]string{"hotel.py", "fn", "hotel.py-2", "flask"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestPrefixedWritesWholeLines(t *testing.T) {
	var b bytes.Buffer
	var lock sync.Mutex
	one, two := &prefixed{mu: &lock, to: &b, prefix: "1 "}, &prefixed{mu: &lock, to: &b, prefix: "2 "}
	for _, w := range []struct {
		to   *prefixed
		text string
	}{{one, "a"}, {two, "x\ny\n"}, {one, "b\nc"}, {one, "\n"}} {
		if n, err := w.to.Write([]byte(w.text)); n != len(w.text) || err != nil {
			t.Fatalf("Write(%q) = %d, %v", w.text, n, err)
		}
	}
	if want := "2 x\n2 y\n1 ab\n1 c\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestSnapshotIgnoresWhatIsNoSource(t *testing.T) {
	dir := t.TempDir()
	for _, file := range []string{"a.py", "b/c.mjs", "node_modules/x.js", ".git/x.py", "b/data.json", "b/.venv/x.py"} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	before := snapshot(dir)
	want := map[string]fileState{filepath.Join(dir, "a.py"): {}, filepath.Join(dir, "b/c.mjs"): {}}
	if len(before) != len(want) {
		t.Errorf("snapshot = %v, want %v", before, want)
	}
	for file := range want {
		if _, ok := before[file]; !ok {
			t.Errorf("snapshot lacks %s", file)
		}
	}
	if _, changed := difference(before, before); changed {
		t.Error("nothing has changed")
	}
	if err := os.WriteFile(filepath.Join(dir, "a.py"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if file, _ := difference(before, snapshot(dir)); file != filepath.Join(dir, "a.py") {
		t.Errorf("changed: %q", file)
	}
	if err := os.Remove(filepath.Join(dir, "b/c.mjs")); err != nil {
		t.Fatal(err)
	}
	if _, changed := difference(before, snapshot(dir)); !changed {
		t.Error("a file that went is no change")
	}
}
