package conformance

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// scenario is one function with an input, and what must come of it, whether the app crashes on the way or not. Texts are JSON with
// $ID for the run's id.
type scenario struct {
	name     string // default: the function
	function string
	extra    string // further fields of the input: `"n": 8`
	want     string // output
	fails    string // instead of want: {"message", "code", "details"}
	reason   string // instead of want: the reason of the error
	// cells are what the tables hold afterwards: "table key" → JSON; "" if there must be none. "peer:table key" is in the peer's service.
	cells map[string]string
	// crashes are the operations after which the app crashes, one in each run.
	crashes []int
	// attempts of a run without a scripted crash; 0: 1.
	attempts int
	check    func(t *testing.T, r *run)
	// sdk: the app that is a plain HTTP endpoint does not have it.
	sdk bool
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i + 1
	}
	return list
}

// jsonValues are kinds of values that must survive unchanged.
const jsonValues = `[null, "", 0, -1, 1.5, 9007199254740993, -9007199254740993, 9223372036854775807, true, false, [], {},
	"ünïcødé 漢字 🐢 \u0000 \" \\ / \u2028 </script>", [[[[[1]]]]], {"a": {"b": [null, {"": "empty"}]}, "Ä": 1e3}]`

const soldOut = `{"message": "sold out", "code": "SOLD_OUT", "details": {"free": 0, "order": 9007199254740993}}`

var scenarios = []scenario{
	{
		function: "about",
		check: func(t *testing.T, r *run) {
			got := r.object(t)
			if got["service"] != service || got["function"] != "about" || got["instance"] != r.instance || got["attempt"] != json.Number("1") {
				t.Errorf("the context says %v, of instance %s", got, r.instance)
			}
		},
	},
	{
		function: "cells", extra: `"value": {"free": 3}`,
		want:    `{"before": null, "after": {"free": 3}, "deleted": null}`,
		cells:   map[string]string{"cells $ID": "", "cells $ID/kept": `{"free": 3}`},
		crashes: upTo(6),
	},
	{
		function: "values", extra: `"values": ` + jsonValues,
		want:    jsonValues,
		cells:   map[string]string{"values $ID/0": "null", "values $ID/1": `""`, "values $ID/5": "9007199254740993"},
		crashes: []int{1, 7, 14, 15, 16, 22, 28},
	},
	{
		function: "bytes", extra: `"size": 600`,
		check: func(t *testing.T, r *run) {
			if r.output.GetContentType() != "application/octet-stream" || len(r.output.GetData()) != 600 || r.output.GetData()[300] != 300%256 {
				t.Errorf("got %d bytes of type %q", len(r.output.GetData()), r.output.GetContentType())
			}
			cell := r.suite.cell(t, service, "bytes", r.id)
			if string(cell.GetValue().GetData()) != string(r.output.GetData()) || cell.GetValue().GetContentType() != "application/octet-stream" {
				t.Errorf("the cell has %d bytes of type %q", len(cell.GetValue().GetData()), cell.GetValue().GetContentType())
			}
		},
		crashes: upTo(2),
	},
	{
		function: "cond",
		want:     `[true, false, true, true]`,
		cells:    map[string]string{"cond $ID": `{"free": 0}`, "cond $ID/new": `{"free": 8}`},
		crashes:  upTo(5),
	},
	{
		function: "update",
		want:     `[1, 9007199254740993]`,
		cells:    map[string]string{"counters $ID": `9007199254740993`},
		crashes:  upTo(2),
	},
	{
		function: "add", extra: `"by": 5`,
		want:    `5`,
		cells:   map[string]string{"counters $ID": `5`},
		crashes: upTo(1),
	},
	{
		function: "list",
		want: `{"pages": [[["$ID/0", {"n": 0}], ["$ID/1", {"n": 1}]], [["$ID/2", {"n": 2}], ["$ID/3", {"n": 3}]], [["$ID/4", {"n": 4}]]],
			"keys": ["$ID/0", "$ID/1", "$ID/2", "$ID/3", "$ID/4"]}`,
		cells:   map[string]string{"lists $ID/4": `{"n": 4}`},
		crashes: upTo(11),
	},
	{
		function: "invoke", extra: `"peer": "` + peer + `"`,
		want:    `[1, 3, 5]`,
		cells:   map[string]string{"counters $ID/own": `3`, "peer:counters $ID/peer": `5`, "invoked $ID": `[1, 3, 5]`},
		crashes: upTo(4),
	},
	{
		function: "start",
		want:     `[1, 10, 1]`,
		cells:    map[string]string{"counters $ID/x": `1`, "counters $ID/y": `10`},
		crashes:  upTo(5),
	},
	{
		function: "record",
		check: func(t *testing.T, r *run) {
			token := r.recorded(t, 3)
			r.equal(t, fmt.Sprintf(`{"value": {"paid": 7, "token": %q}, "applied": true}`, token))
			r.cell(t, "record $ID", fmt.Sprintf(`{"paid": 7, "token": %q}`, token))
		},
		crashes: upTo(3),
	},
	{
		function: "recordFailure",
		want:     `{"message": "card declined", "code": "DECLINED", "details": {"left": 3}, "applied": true}`,
		cells:    map[string]string{"record $ID": `"DECLINED"`},
		check:    func(t *testing.T, r *run) { r.recorded(t, 3) },
		crashes:  upTo(3),
	},
	{
		function: "recordRaise",
		want:     `"done"`,
		attempts: 2,
		check: func(t *testing.T, r *run) {
			if lines := r.lines(t); len(lines) != 2 || lines[0] != lines[1] {
				t.Errorf("the code ran with the tokens %q, want one token twice", lines)
			}
		},
	},
	{
		function: "ambient",
		check: func(t *testing.T, r *run) {
			v := r.object(t)
			now, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(v["now"]))
			if err != nil {
				t.Error(err)
			}
			later, err := time.Parse("2006-01-02T15:04:05.000Z", fmt.Sprint(v["later"]))
			if err != nil {
				t.Error(err)
			}
			if later.Before(now) {
				t.Errorf("%v, later %v", now, later)
			}
			if n, err := v["random"].(json.Number).Float64(); err != nil || n < 0 || n >= 1 {
				t.Errorf("random is %v", v["random"])
			}
			if len(fmt.Sprint(v["uuid"])) != 36 {
				t.Errorf("uuid is %v", v["uuid"])
			}
			r.cell(t, "ambient $ID", string(r.output.GetData()))
		},
		crashes: upTo(6),
	},
	{
		function: "branches",
		want:     `[[1, 1, "x", 2], 2]`,
		cells: map[string]string{"branches $ID": `"end"`, "branches $ID/1": `2`, "branches $ID/1/1": `1`, "branches $ID/1/2": `"x"`,
			"branches $ID/2": `2`},
		crashes: upTo(9),
		check: func(t *testing.T, r *run) {
			want := []string{"1", "2/1.1", "2/1.2/1.1", "2/1.2/2.1", "2/1.2/2.2", "2/1.3", "2/2.1", "2/2.2", "3"}
			var got []string
			for _, record := range r.detail(t).GetJournal() {
				for _, e := range record.GetEntries() {
					if !slices.Contains(got, e.GetStep()) {
						got = append(got, e.GetStep())
					}
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("the journal has the steps %q, want %q", got, want)
			}
		},
	},
	{
		function: "fan", extra: `"n": 8`,
		want:    `[1, 1, 1, 1, 1, 1, 1, 1]`,
		cells:   map[string]string{"fan $ID/0": `1`, "fan $ID/7": `1`},
		crashes: []int{1, 4, 8, 9, 12, 16},
	},
	{
		function: "fanOut", extra: `"n": 100`,
		want:    `4950`,
		cells:   map[string]string{"counters $ID/0": `0`, "counters $ID/99": `99`},
		crashes: []int{1, 50, 100},
	},
	{
		function: "fail",
		fails:    soldOut,
		cells:    map[string]string{"fail $ID": `"written"`},
		crashes:  upTo(1),
	},
	{
		function: "failCaught",
		want: `{"message": "sold out", "code": "SOLD_OUT", "details": {"free": 0, "order": 9007199254740993},
			"started": "SOLD_OUT", "cell": "SOLD_OUT"}`,
		cells:   map[string]string{"fail $ID": `"SOLD_OUT"`, "fail $ID/callee": `"written"`, "fail $ID/started": `"written"`},
		crashes: upTo(5),
	},
	{
		function: "failUncaught",
		fails:    soldOut,
		cells:    map[string]string{"fail $ID/callee": `"written"`},
		crashes:  upTo(1),
	},
	{
		function: "crash", extra: `"times": 2`,
		want:     `1`,
		cells:    map[string]string{"crash $ID": `1`},
		attempts: 3,
	},
	{
		function: "limits",
		want:     `["TOO_LARGE", "TOO_LARGE", "TOO_LARGE"]`,
		cells:    map[string]string{"limits $ID": `"` + strings.Repeat("x", 262142) + `"`},
		sdk:      true,
	},
	{
		function: "badExpression",
		want:     `["BAD_EXPRESSION", "BAD_EXPRESSION", "text"]`,
		cells:    map[string]string{"expressions $ID": `"text"`},
		crashes:  upTo(4),
	},
	{name: "diverge operation", function: "diverge", extra: `"how": "operation"`, reason: "NON_DETERMINISM", attempts: 2},
	{name: "diverge key", function: "diverge", extra: `"how": "key"`, reason: "NON_DETERMINISM", attempts: 2},
	{name: "diverge argument", function: "diverge", extra: `"how": "argument"`, reason: "NON_DETERMINISM", attempts: 2},
	{name: "diverge missing", function: "diverge", extra: `"how": "missing"`, reason: "NON_DETERMINISM", attempts: 2},
}

// Scenarios for a sidecar that ends attempts after a second and gives up after three crashes.
var impatient = []scenario{
	{
		function: "cancelled",
		want:     `{"value": 1, "stopped": true}`,
		cells:    map[string]string{"cancelled $ID": `1`},
		attempts: 2,
		sdk:      true,
	},
	{
		function: "crash", extra: `"times": 1000`,
		reason:   "ATTEMPTS_EXHAUSTED",
		cells:    map[string]string{"crash $ID": `1`},
		attempts: 3,
	},
}

// recorded returns the token that recorded code ran with; it ran once if the run got as far as the operation `durable` or did not crash.
func (r *run) recorded(t *testing.T, durable int) string {
	t.Helper()
	lines := r.lines(t)
	most := 2
	if r.crash.After == 0 || r.crash.After >= durable {
		most = 1
	}
	if len(lines) < 1 || len(lines) > most || lines[0] != lines[len(lines)-1] || lines[0] == "" {
		t.Fatalf("the code ran with the tokens %q, want one token, at most %d times", lines, most)
	}
	return lines[0]
}

func (r *run) lines(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.suite.dir, strings.ReplaceAll(r.id, "/", "_")))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}
