// Package planted tests the tests: it plants known bugs into the core (build tag planted, hooks in daal and intent) and asks that the suites find each of them.
// A checker that has never seen a bug proves little.
package planted

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// suites are the packages whose tests must find the bugs, and the tests to run. Seeds are fixed: whether a bug is found is not left to chance.
var suites = map[string][]string{
	"sim":  {"-test.run=^(TestSeeds|TestCrashPoints|TestNonDeterminism)$", "-seed=1", "-seeds=150", "-sample=1"},
	"daal": {"-test.run=."},
}

// bugs are all hooks of the core, with the suite that finds each and what it says. What only some hundred seeds find (ignore-fence, prune-without-fence, see
// sim/testdata/seeds.txt) has a test of its own in daal.
var bugs = []struct{ name, suite, says string }{
	{"none", "sim", ""},
	{"none", "daal", ""},
	{"no-flush", "sim", `without faults`},
	{"done-outside", "sim", `its journal says 2 times|has two results`},
	{"unknown-is-refused", "sim", `its journal says 0 times|was applied 2 times|without faults`},
	{"step-by-number", "sim", `no attempt was found to have taken another path|of neither path`},
	{"roll-over-forgets-fence", "daal", `the roll-over lost the fence`},
	{"tip-by-position", "sim", `its journal says 2 times|no order of its operations|the client was told`},
	{"ignore-fence", "daal", `want fenced at`},
	{"prune-without-fence", "daal", `want fenced at`},
}

func TestPlantedBugsAreFound(t *testing.T) {
	dir := t.TempDir()
	for name, pkg := range map[string]string{"sim": "./test/sim", "daal": "./daal"} {
		build := exec.Command("go", "test", "-c", "-tags", "planted", "-o", filepath.Join(dir, name), pkg)
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", pkg, err, out)
		}
	}
	for _, bug := range bugs {
		t.Run(bug.name+"/"+bug.suite, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			cmd := exec.CommandContext(ctx, filepath.Join(dir, bug.suite), append(suites[bug.suite], "-test.failfast")...)
			cmd.Dir = filepath.Join("../..", map[string]string{"sim": "test/sim", "daal": "daal"}[bug.suite])
			cmd.Env = append(os.Environ(), "BELDI_PLANTED_BUG="+bug.name)
			out, err := cmd.CombinedOutput()
			var exit *exec.ExitError
			switch {
			case bug.name == "none" && err != nil:
				t.Errorf("without a bug the suite fails: %v\n%s", err, out)
			case bug.name == "none":
			case err == nil:
				t.Errorf("the suite does not find it")
			case !errors.As(err, &exit):
				t.Errorf("run the suite: %v", err)
			case !regexp.MustCompile(bug.says).Match(out):
				t.Errorf("the suite fails, but does not say %q:\n%s", bug.says, out)
			}
		})
	}
}

// TestEveryHookHasARow: a hook in the core that this test does not know would be a bug that nobody looks for.
func TestEveryHookHasARow(t *testing.T) {
	hook := regexp.MustCompile(`planted\("([a-z-]+)"\)`)
	known := map[string]bool{}
	for _, bug := range bugs {
		known[bug.name] = true
	}
	found := map[string]bool{"none": true}
	for _, pattern := range []string{"../../daal/*.go", "../../intent/*.go", "../../callback/*.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range hook.FindAllStringSubmatch(string(text), -1) {
				found[m[1]] = true
				if !known[m[1]] {
					t.Errorf("%s plants %s, which no row of the table names", strings.TrimPrefix(file, "../../"), m[1])
				}
			}
		}
	}
	for name := range known {
		if !found[name] {
			t.Errorf("no code plants %s", name)
		}
	}
}
