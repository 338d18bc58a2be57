package server

import (
	"strings"
	"testing"

	"github.com/beldi/beldi/daal"
	"github.com/beldi/beldi/intent"
	beldiv1 "github.com/beldi/beldi/proto/beldi/v1"
)

func x(n int) string { return strings.Repeat("x", n) }

// jsonOf is a JSON string of n bytes.
func jsonOf(n int) *beldiv1.Payload { return &beldiv1.Payload{Data: []byte(`"` + x(n-2) + `"`)} }

func bytesOf(n int) *beldiv1.Payload {
	return &beldiv1.Payload{Data: []byte(x(n)), ContentType: "application/octet-stream"}
}

func value(p *beldiv1.Payload, limit int) *fault {
	_, f := valueOf("value", p, limit)
	return f
}

// One byte under each limit, at it, and over it.
func TestLimits(t *testing.T) {
	for what, c := range map[string]struct {
		limit int
		check func(n int) *fault
	}{
		"key":          {1024, func(n int) *fault { return checkCell("t", x(n)) }},
		"value, JSON":  {256 << 10, func(n int) *fault { return value(jsonOf(n), maxValue) }},
		"value, bytes": {256 << 10, func(n int) *fault { return value(bytesOf(n), maxValue) }},
		"input":        {1 << 20, func(n int) *fault { return value(jsonOf(n), maxInput) }},
		"result":       {1 << 20, func(n int) *fault { _, f := completeOp(&beldiv1.CompleteRequest{Output: jsonOf(n)}); return f }},
		"written": {256 << 10, func(n int) *fault {
			_, f := writeOp(&beldiv1.WriteRequest{Table: "t", Key: "k", Value: jsonOf(n)})
			return f
		}},
		"recorded": {256 << 10, func(n int) *fault { _, f := endRecordOp(&beldiv1.EndRecordRequest{Value: jsonOf(n)}); return f }},
		"invoke input": {1 << 20, func(n int) *fault {
			_, f := invokeOp("s", intent.OpInvoke, &beldiv1.FunctionRef{Function: "f"}, jsonOf(n))
			return f
		}},
		"step name":       {256, func(n int) *fault { return checkStep(x(n)) }},
		"table":           {128, func(n int) *fault { return checkCell(x(n), "k") }},
		"service":         {128, func(n int) *fault { return checkFunction(intent.Function{Service: x(n), Name: "f"}) }},
		"function":        {128, func(n int) *fault { return checkFunction(intent.Function{Service: "s", Name: x(n)}) }},
		"failure message": {8 << 10, func(n int) *fault { _, f := failureOf(&beldiv1.Failure{Message: x(n)}); return f }},
		"failure code":    {128, func(n int) *fault { _, f := failureOf(&beldiv1.Failure{Code: x(n)}); return f }},
		"failure details": {256 << 10, func(n int) *fault { _, f := failureOf(&beldiv1.Failure{Details: jsonOf(n)}); return f }},
		"prefix":          {1024, func(n int) *fault { _, f := listOp(&beldiv1.ListRequest{Table: "t", Prefix: x(n)}); return f }},
		"expression": {daal.MaxExpression, func(n int) *fault {
			_, f := updateOp(&beldiv1.UpdateRequest{Table: "t", Key: "k", Expression: "'" + x(n-2) + "'"})
			return f
		}},
		"content type": {255, func(n int) *fault { return value(&beldiv1.Payload{ContentType: "a/" + x(n-2)}, 0) }},
		"instance":     {512, func(n int) *fault { return checkInstance(x(n)) }},
	} {
		for d := -1; d <= 1; d++ {
			f := c.check(c.limit + d)
			switch {
			case d <= 0 && f != nil:
				t.Errorf("%s of %d bytes: %v", what, c.limit+d, f)
			case d > 0 && (f == nil || f.reason != reasonTooLarge && f.reason != reasonBadExpression):
				t.Errorf("%s of %d bytes: %v, want TOO_LARGE", what, c.limit+d, f)
			}
		}
	}
	for n, ok := range map[int32]bool{-1: false, 0: true, 1: true, 999: true, 1000: true, 1001: false} {
		if _, f := checkLimit(n); (f == nil) != ok {
			t.Errorf("limit %d: %v", n, f)
		}
	}
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		name                 string
		function, table, key bool
	}{
		{"a", true, true, true},
		{"größe-1.2_#:x", true, true, true},
		{"a-b", true, true, true},
		{"a#b", true, true, true},
		{"a/b", false, true, true},
		{"$a", false, true, true},
		{"a$", true, true, true},
		{"", false, false, false},
		{"a\x00b", false, false, true},
		{"a\nb", false, false, true},
		{"a\u0085b", false, false, true},
		{"a\xffb", false, false, false},
	} {
		if f := checkName("function", c.name); (f == nil) != c.function {
			t.Errorf("function %q: %v", c.name, f)
		}
		if f := checkCell(c.name, "k"); (f == nil) != c.table {
			t.Errorf("table %q: %v", c.name, f)
		}
		if f := checkCell("t", c.name); (f == nil) != c.key {
			t.Errorf("key %q: %v", c.name, f)
		}
	}
}

func TestPayloads(t *testing.T) {
	for _, c := range []struct {
		data, kind string
		want       string // the content type that is kept, or "refused"
	}{
		{`{"a": 1, "a": 2}`, "", ""},
		{`9007199254740993`, "application/json", ""},
		{`1e400`, "application/json; charset=utf-8", ""},
		{"", "", ""},
		{"", "text/plain", "text/plain"},
		{"not JSON", "text/plain; charset=utf-8", "text/plain; charset=utf-8"},
		{"\xff", "application/octet-stream", "application/octet-stream"},
		{`{"a": }`, "", "refused"},
		{`{} {}`, "", "refused"},
		{`01`, "", "refused"},
		{"\"\xff\"", "", "refused"},
		{"x", "no type at all", "refused"},
		{"x", "a\nb", "refused"},
	} {
		v, f := valueOf("value", &beldiv1.Payload{Data: []byte(c.data), ContentType: c.kind}, maxValue)
		switch {
		case c.want == "refused":
			if f == nil || f.reason != reasonMalformed {
				t.Errorf("%q of %q: %v, want MALFORMED", c.data, c.kind, f)
			}
		case f != nil || v.Type != c.want:
			t.Errorf("%q of %q: type %q, %v, want %q", c.data, c.kind, v.Type, f, c.want)
		case c.data != "" && string(v.Data) != c.data:
			t.Errorf("%q was kept as %q", c.data, v.Data)
		case c.data == "" && v.IsJSON() && string(v.Data) != "null":
			t.Errorf("nothing was kept as %q, want null", v.Data)
		}
	}
	_, f := valueOf("value", &beldiv1.Payload{Data: []byte(`{"a": }`)}, maxValue)
	if f == nil || !strings.Contains(f.message, "at byte 7") {
		t.Errorf("%v, want the position", f)
	}
}

func TestExpressions(t *testing.T) {
	for expr, position := range map[string]string{"value +": "1:8", "1": "1:1", "no_such": "1:1", "value.x == \n )": "2:2"} {
		_, f := condWriteOp(&beldiv1.CondWriteRequest{Table: "t", Key: "k", Condition: expr})
		if f == nil || f.reason != reasonBadExpression {
			t.Errorf("%q: %v, want BAD_EXPRESSION", expr, f)
			continue
		}
		if at := f.meta["line"] + ":" + f.meta["column"]; at != position {
			t.Errorf("%q: %v at %s, want %s", expr, f, at, position)
		}
	}
}

func TestEndpointURLs(t *testing.T) {
	for url, ok := range map[string]bool{
		"http://127.0.0.1:80": true, "https://example.org/functions": true, "": false, "127.0.0.1:80": false, "ftp://x": false, "http://": false,
		"http://user@x": false, "http://x?y": false, "http://x#y": false, "http://[": false,
	} {
		if _, f := checkEndpoint(url); (f == nil) != ok {
			t.Errorf("%q: %v", url, f)
		}
	}
	for host, want := range map[string]bool{"127.0.0.1": true, "127.9.9.9": true, "::1": true, "::ffff:127.0.0.1": true, "localhost": true,
		"localhost.example.org": false, "10.0.0.1": false, "0.0.0.0": false, "": false} {
		if got := isLoopback(host); got != want {
			t.Errorf("loopback %q: %v", host, got)
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{{9, "größe"}, {7, "größe"}, {6, "größ"}, {5, "grö"}, {4, "grö"}, {3, "gr"}, {0, ""}} {
		if got := cut("größe", c.n); got != c.want {
			t.Errorf("cut at %d: %q, want %q", c.n, got, c.want)
		}
	}
}
