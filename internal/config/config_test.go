package config

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each testdata/NAME.yaml has a NAME.golden: what `config check` says about it or, if nothing is wrong, what
// `config show` prints.
func TestFiles(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", "/run/user/1000")
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("testdata: %d files, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			got := outcome(t, Source{File: file})
			golden := strings.TrimSuffix(file, ".yaml") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", file, diff)
			}
		})
	}
}

func outcome(t *testing.T, src Source) string {
	t.Helper()
	loaded, err := Load(src)
	if err != nil {
		return err.Error() + "\n"
	}
	var b bytes.Buffer
	if err := loaded.Show(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestNearerSourceWins(t *testing.T) {
	env := func(name string) (string, bool) {
		text, ok := map[string]string{"BELDI_LEASE": "20s", "BELDI_MAX_ATTEMPTS": "3"}[name]
		return text, ok
	}
	l, err := Load(Source{File: "testdata/full.yaml", Env: env, Flags: map[string]string{"max-attempts": "4"}})
	if err != nil {
		t.Fatal(err)
	}
	got := []string{l.Realm, l.Origin("realm"), short(l.Lease), l.Origin("lease"), l.Origin("max_attempts"), l.Origin("telemetry.otlp")}
	want := []string{"tours", "testdata/full.yaml:1:8", "20s", "BELDI_LEASE", "--max-attempts", "testdata/full.yaml:16:9"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if l.MaxAttempts != 4 {
		t.Errorf("max_attempts = %d, want the flag's 4", l.MaxAttempts)
	}
}

func TestMistakesOutsideTheFile(t *testing.T) {
	t.Chdir(t.TempDir()) // no beldi.yaml here
	env := func(name string) (string, bool) { return "fast", name == "BELDI_LEASE" }
	_, err := Load(Source{Env: env, Flags: map[string]string{
		"http":   "0.0.0.0:7400",
		Services: "hotel flight=nowhere#reserve pay=http://127.0.0.1:5000#charge",
	}})
	want := strings.TrimPrefix(`
BELDI_LEASE: lease "fast" is no duration; want a duration between 1s and 10m, such as 10s
--services: services "hotel" is no service; want NAME=URL#FUNCTION,FUNCTION
--services: services.flight.endpoint "nowhere" is no URL; want one such as http://127.0.0.1:5000/beldi
--http: listen.http 0.0.0.0:7400 can be reached from other machines and no token is set; set token, or listen on 127.0.0.1`, "\n")
	if err == nil || err.Error() != want {
		t.Errorf("Load: got\n%v\nwant\n%s", err, want)
	}
}

func TestShownSettingsReadBack(t *testing.T) {
	first, err := Load(Source{File: "testdata/full.yaml", Flags: map[string]string{"token": "0123456789abcdef"}})
	if err != nil {
		t.Fatal(err)
	}
	first.Token = "" // masked by Show, and eight stars are no token
	var b bytes.Buffer
	if err := first.Show(&b); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), FileName)
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	again, err := Load(Source{File: file})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(first.Config, again.Config); diff != "" {
		t.Errorf("show, then load (-want +got):\n%s", diff)
	}
}

func TestMissingFile(t *testing.T) {
	if _, err := Load(Source{File: "testdata/none.yaml"}); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("Load of a named file that is not there: %v", err)
	}
}

func FuzzFile(f *testing.F) {
	f.Add("realm: a\nlisten: {grpc: off}\n")
	f.Add("services:\n  hotel: {endpoint: http://h/b, functions: [a, b]}\n")
	f.Add("- &a\n- *a\n")
	f.Fuzz(func(t *testing.T, text string) {
		file := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, _ = Load(Source{File: file}) // must not panic, whatever the file holds
	})
}
