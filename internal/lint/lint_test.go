package lint

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "github.com/beldi/beldi/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	GoFiles    []string
	Imports    []string
	Deps       []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	list, err := listed()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	return list
}

var listed = sync.OnceValues(func() ([]pkg, error) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports,Deps", module+"...").Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return nil, fmt.Errorf("%w: %s", err, exit.Stderr)
	} else if err != nil {
		return nil, err
	}
	var list []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return list, nil
		} else if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
})

// room is the first folder of a package, "" for one of another module.
func room(importPath string) string {
	rest, ours := strings.CutPrefix(importPath, module)
	if !ours {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// law says which rooms a room may use, all the way down. Rooms that are not here may use any.
var law = map[string][]string{
	"backends":      {},
	"daal":          {"backends"},
	"intent":        {"daal", "backends"},
	"txn":           {"intent", "daal", "backends"},
	"callback":      {"intent", "daal", "backends"},
	"sharedlog":     {"intent", "daal", "backends"},
	"proto":         {},
	"observability": {},
	"server":        {"proto", "sharedlog", "txn", "callback", "intent", "daal", "backends"},
	"clients":       {"proto"},
	"examples":      {"clients", "proto"},
}

// core is free of transport, logging and the SDK of its telemetry.
var core = []string{"daal", "intent", "txn", "callback", "sharedlog"}

var foreignToCore = []string{"google.golang.org/", "log", "log/slog", "go.opentelemetry.io/otel/sdk", "go.opentelemetry.io/otel/exporters", "net/http", module + "proto"}

func TestImports(t *testing.T) {
	for _, p := range packages(t) {
		at := room(p.ImportPath)
		allowed, ruled := law[at]
		for _, dep := range p.Deps {
			to := room(dep)
			if ruled && to != "" && to != at && !slices.Contains(allowed, to) {
				t.Errorf("%s must not depend on %s", p.ImportPath, dep)
			}
			if isAdapter(dep) && at != "cmd" && dep != module+"internal/wiring" && !strings.HasPrefix(p.ImportPath, module+"backends/") &&
				!uses(p, "internal/wiring") && !isForTests(p) {
				t.Errorf("%s must not name the adapter %s", p.ImportPath, dep)
			}
		}
		if !slices.Contains(core, at) {
			continue
		}
		for _, dep := range p.Imports {
			for _, foreign := range foreignToCore {
				if dep == foreign || strings.HasSuffix(foreign, "/") && strings.HasPrefix(dep, foreign) || strings.HasPrefix(dep, foreign+"/") {
					t.Errorf("%s is of the core and must not import %s", p.ImportPath, dep)
				}
			}
		}
	}
}

func isAdapter(dep string) bool {
	for _, name := range []string{"memory", "pebble", "dynamodb", "cassandra"} {
		if dep == module+"backends/"+name {
			return true
		}
	}
	return false
}

func uses(p pkg, dep string) bool {
	return p.ImportPath == module+dep || slices.Contains(p.Deps, module+dep)
}

// isForTests: packages that only tests and benchmarks run on their own stores.
func isForTests(p pkg) bool {
	return room(p.ImportPath) == "test" || room(p.ImportPath) == "bench"
}

// The core asks one clock, and one source of randomness, that simulations replace. clock.go is where the real ones are.
func TestClocks(t *testing.T) {
	forbidden := map[string][]string{
		"time": {"Now", "Sleep", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick", "Since", "Until"},
	}
	eachCoreFile(t, func(name string, fset *token.FileSet, f *ast.File) {
		if filepath.Base(name) == "clock.go" {
			return
		}
		for _, imp := range f.Imports {
			if path, err := strconv.Unquote(imp.Path.Value); err != nil || path == "math/rand" || path == "math/rand/v2" || path == "crypto/rand" {
				t.Errorf("%s imports %s: randomness comes from clock.go", name, imp.Path.Value)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if of, ok := sel.X.(*ast.Ident); ok && slices.Contains(forbidden[of.Name], sel.Sel.Name) {
				t.Errorf("%s: %s.%s: time comes from clock.go", fset.Position(n.Pos()), of.Name, sel.Sel.Name)
			}
			return true
		})
	})
}

// Libraries return errors; what is printed is for cmd and server to say.
func TestCoreIsSilent(t *testing.T) {
	eachCoreFile(t, func(_ string, fset *token.FileSet, f *ast.File) {
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			of, ok := sel.X.(*ast.Ident)
			if ok && (of.Name == "fmt" && strings.HasPrefix(sel.Sel.Name, "Print") || of.Name == "log" || of.Name == "slog" || of.Name == "os" && sel.Sel.Name == "Exit") {
				t.Errorf("%s: %s.%s in the core", fset.Position(n.Pos()), of.Name, sel.Sel.Name)
			}
			return true
		})
	})
}

func eachCoreFile(t *testing.T, check func(name string, fset *token.FileSet, f *ast.File)) {
	t.Helper()
	files := 0
	for _, p := range packages(t) {
		if !slices.Contains(core, room(p.ImportPath)) {
			continue
		}
		for _, name := range p.GoFiles {
			fset := token.NewFileSet()
			f, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			check(filepath.Join(p.Dir, name), fset, f)
			files++
		}
	}
	if files == 0 {
		t.Fatal("no files of the core were found")
	}
}

// A file that one cannot hold in the head is two files.
const maxLines = 600

func TestFilesAreShort(t *testing.T) {
	for _, p := range packages(t) {
		names, err := filepath.Glob(filepath.Join(p.Dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if n, generated := measure(t, name); n > maxLines && !generated {
				t.Errorf("%s has %d lines, more than %d", name, n, maxLines)
			}
		}
	}
}

func measure(t *testing.T, name string) (lines int, generated bool) {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	s := bufio.NewScanner(f)
	for s.Scan() {
		lines++
		generated = generated || strings.HasPrefix(s.Text(), "// Code generated ")
	}
	if err := s.Err(); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return lines, generated
}

func TestPackagesAreDocumented(t *testing.T) {
	for _, p := range packages(t) {
		if p.Doc == "" && len(p.GoFiles) > 0 && room(p.ImportPath) != "proto" {
			t.Errorf("package %s has no comment that says what it is", p.ImportPath)
		}
	}
}
