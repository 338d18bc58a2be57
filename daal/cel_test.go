package daal_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/beldi/beldi/backends"
	"github.com/beldi/beldi/backends/memory"
	"github.com/beldi/beldi/daal"
)

// evaluate computes an Update over a value; value "" means that there is none.
func evaluate(t *testing.T, value daal.Value, expr string, input daal.Value) daal.Outcome {
	t.Helper()
	c := cells(memory.New(memory.Options{Scope: backends.ScopePartition}))
	if value.Data != nil {
		apply(t, c, named("0", 1, daal.Effect{Kind: daal.Write, Value: value}))
	}
	p, err := daal.CompileExpression(expr)
	if err != nil {
		t.Fatalf("compile %q: %v", expr, err)
	}
	return apply(t, c, named("1", 1, daal.Effect{Kind: daal.Update, Program: p, Value: input}))
}

// H28: what goes through an expression comes out as the same JSON.
func TestExpressions(t *testing.T) {
	for _, test := range []struct{ value, expr, input, want string }{
		{"", "found ? value + 1 : 1", "", "1"},
		{"9007199254740993", "value", "", "9007199254740993"}, // 2^53 + 1
		{"9007199254740993", "value + 1", "", "9007199254740994"},
		{"-9223372036854775808", "value", "", "-9223372036854775808"},
		{"18446744073709551615", "value", "", "18446744073709551615"},
		{"1.5", "value * 2.0", "", "3"},
		{"1e300", "value", "", "1e+300"},
		{"-0.0", "value", "", "-0"},
		{`{"b":1,"a":{"d":[2,null,true],"c":"x"}}`, "value", "", `{"a":{"c":"x","d":[2,null,true]},"b":1}`},
		{`"<&>\u2028é"`, "value", "", "\"<&>\\u2028é\""},
		{"[1,2,3]", "value.map(x, x * 2)", "", "[2,4,6]"},
		{"null", "value == null ? 'nothing' : 'something'", "", `"nothing"`},
		{"3", "value + input.by", `{"by":4}`, "7"},
		{`{"left":3}`, `{"left": value.left - 1, "rooms": [input]}`, `"101"`, `{"left":2,"rooms":["101"]}`},
		{`"2026-11-21T10:00:00Z"`, "timestamp(value) + duration('1h')", "", `"2026-11-21T11:00:00Z"`},
	} {
		v := daal.Value{}
		if test.value != "" {
			v = daal.JSON(test.value)
		}
		o := evaluate(t, v, test.expr, daal.Value{Data: []byte(test.input)})
		if got := string(o.Value.Data); got != test.want || !o.Applied {
			t.Errorf("value %s, %s: %s (%s), want %s", test.value, test.expr, got, o.Failed, test.want)
		}
	}
}

func TestExpressionsThatFail(t *testing.T) {
	for _, test := range []struct {
		value daal.Value
		expr  string
		why   string
	}{
		{daal.Value{}, "value + 1", "no such overload"},
		{daal.JSON(`{}`), "value.left", "no such key"},
		{daal.JSON("1"), "1 / (value - 1)", "division by zero"},
		{daal.JSON("9223372036854775807"), "value + 1", "overflow"},
		{daal.JSON("0.0"), "1.0 / value", "no JSON form"},
		{daal.JSON("1"), "{1: value}", "map keys must be strings"},
		{daal.JSON("not JSON"), "value", "not JSON"},
		{daal.JSON("[" + strings.Repeat("1,", 999) + "1]"), "value.map(x, value.map(y, value.map(z, x + y + z)))", "cost limit"},
		{daal.Value{Data: []byte{0xff, 0}, Type: "image/png"}, "value.width", "no such key"},
		{daal.JSON(`"` + strings.Repeat("x", 200<<10) + `"`), "value + value", "the limit is 262144"},
	} {
		if o := evaluate(t, test.value, test.expr, daal.Value{}); o.Applied || !strings.Contains(o.Failed, test.why) {
			t.Errorf("%s: %+v, want a failure with %q", test.expr, o, test.why)
		}
	}
}

// A condition sees the new value, too; one over bytes compares bytes.
func TestConditions(t *testing.T) {
	for _, test := range []struct {
		value, expr, next string
		want              bool
	}{
		{"", "!found", "1", true},
		{"1", "!found", "1", false},
		{"1", "new > value", "2", true},
		{"1", "new > value", "1", false},
		{`{"left":1}`, "value.left > 0", "0", true},
	} {
		c := cells(memory.New(memory.Options{Scope: backends.ScopePartition}))
		if test.value != "" {
			apply(t, c, write("0", 1, test.value))
		}
		if o := apply(t, c, condWrite(t, "1", 1, test.next, test.expr)); o.Applied != test.want || o.Failed != "" {
			t.Errorf("value %s, new %s, %s: %+v, want %v", test.value, test.next, test.expr, o, test.want)
		}
	}
}

// A value over MaxReturned is stored and not returned; one of just that size is.
func TestLargeResultIsNotReturned(t *testing.T) {
	for size, returned := range map[int]bool{daal.MaxReturned: true, daal.MaxReturned + 1: false} {
		text := daal.JSON(`"` + strings.Repeat("x", size-2) + `"`)
		if o := evaluate(t, daal.Value{}, "input", text); o.HasValue != returned || !o.Applied {
			t.Errorf("%d bytes: returned %v, applied %v", size, o.HasValue, o.Applied)
		}
	}
}

// Errors of the compiler say where.
func TestBadExpressions(t *testing.T) {
	for _, test := range []struct {
		expr         string
		condition    bool
		line, column int
	}{
		{"value +", false, 1, 8},
		{"value\n  + nothing", false, 2, 5},
		{"new", false, 1, 1},
		{"input", true, 1, 1},
		{"1 + 1", true, 1, 1},
		{strings.Repeat(" ", daal.MaxExpression) + "1", false, 1, 1},
	} {
		compile := daal.CompileExpression
		if test.condition {
			compile = daal.CompileCondition
		}
		_, err := compile(test.expr)
		var bad *daal.BadExpression
		if !errors.As(err, &bad) || bad.Line != test.line || bad.Column != test.column {
			t.Errorf("%.40q: %v, want an error at %d:%d", test.expr, err, test.line, test.column)
		}
	}
}
