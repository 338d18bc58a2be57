package daal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Limits of expressions: what they may cost to evaluate (in CEL's units, about one per operator or list element), and their length.
const (
	maxCost       = 1_000_000
	MaxExpression = 4 << 10
)

// BadExpression says what is wrong with an expression, and where (1-based line and column; 0 if it failed at run time).
type BadExpression struct {
	Line, Column int
	Message      string
}

func (e *BadExpression) Error() string {
	if e.Line == 0 {
		return "expression failed: " + e.Message
	}
	return fmt.Sprintf("bad expression at %d:%d: %s", e.Line, e.Column, e.Message)
}

// Program is a compiled CEL expression. It has no side effects, no clock and no randomness: the same stored value gives the same result.
type Program struct {
	program cel.Program
}

var (
	conditionEnv  = newEnv("new")
	expressionEnv = newEnv("input")
	programs      = programCache{m: map[programKey]*Program{}}
)

func newEnv(third string) func() (*cel.Env, error) {
	return sync.OnceValues(func() (*cel.Env, error) {
		return cel.NewEnv(
			cel.Variable("value", cel.DynType),
			cel.Variable("found", cel.BoolType),
			cel.Variable(third, cel.DynType),
		)
	})
}

// CompileCondition compiles the condition of a CondWrite: variables value, found, new; type bool.
func CompileCondition(expr string) (*Program, error) { return programs.get(expr, true) }

// CompileExpression compiles the expression of an Update: variables value, found, input.
func CompileExpression(expr string) (*Program, error) { return programs.get(expr, false) }

type programKey struct {
	expr      string
	condition bool
}

// programCache keeps compiled programs: compiling takes about a millisecond, functions have few expressions.
type programCache struct {
	mu sync.RWMutex
	m  map[programKey]*Program
}

const maxPrograms = 1024

func (c *programCache) get(expr string, condition bool) (*Program, error) {
	k := programKey{expr, condition}
	c.mu.RLock()
	p := c.m[k]
	c.mu.RUnlock()
	if p != nil {
		return p, nil
	}
	p, err := compile(expr, condition)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.m) >= maxPrograms { // somebody builds expressions from data: start over rather than grow
		clear(c.m)
	}
	c.m[k] = p
	return p, nil
}

func compile(expr string, condition bool) (*Program, error) {
	if len(expr) > MaxExpression {
		return nil, &BadExpression{Line: 1, Column: 1, Message: fmt.Sprintf("longer than %d bytes", MaxExpression)}
	}
	make := expressionEnv
	if condition {
		make = conditionEnv
	}
	env, err := make()
	if err != nil {
		return nil, fmt.Errorf("daal: set up CEL: %w", err)
	}
	ast, issues := env.Compile(expr)
	if issues != nil && issues.Err() != nil {
		bad := &BadExpression{Line: 1, Column: 1, Message: issues.Err().Error()}
		if errs := issues.Errors(); len(errs) > 0 {
			bad = &BadExpression{Line: errs[0].Location.Line(), Column: errs[0].Location.Column() + 1, Message: errs[0].Message}
		}
		return nil, bad
	}
	if t := ast.OutputType(); condition && !t.IsExactType(cel.BoolType) && !t.IsExactType(cel.DynType) {
		return nil, &BadExpression{Line: 1, Column: 1, Message: fmt.Sprintf("a condition must be true or false, this is %s", t)}
	}
	p, err := env.Program(ast, cel.CostLimit(maxCost), cel.EvalOptions(cel.OptOptimize))
	if err != nil {
		return nil, &BadExpression{Line: 1, Column: 1, Message: err.Error()}
	}
	return &Program{program: p}, nil
}

// condition judges; a failure at run time is a *BadExpression.
func (p *Program) condition(value Value, found bool, next Value) (bool, error) {
	out, err := p.eval(value, found, "new", next)
	if err != nil {
		return false, err
	}
	b, ok := out.(types.Bool)
	if !ok {
		return false, &BadExpression{Message: fmt.Sprintf("a condition must be true or false, this gave %s", out.Type().TypeName())}
	}
	return bool(b), nil
}

// compute returns the expression's value as JSON; a failure at run time is a *BadExpression.
func (p *Program) compute(value Value, found bool, input Value) (Value, error) {
	out, err := p.eval(value, found, "input", input)
	if err != nil {
		return Value{}, err
	}
	b, err := appendJSON(nil, out)
	if err != nil {
		return Value{}, &BadExpression{Message: err.Error()}
	}
	return Value{Data: b}, nil
}

func (p *Program) eval(value Value, found bool, third string, arg Value) (ref.Val, error) {
	v, err := native(value, found)
	if err != nil {
		return nil, &BadExpression{Message: "value: " + err.Error()}
	}
	a, err := native(arg, len(arg.Data) > 0)
	if err != nil {
		return nil, &BadExpression{Message: third + ": " + err.Error()}
	}
	out, _, err := p.program.Eval(map[string]any{"value": v, "found": found, third: a})
	if err != nil {
		return nil, &BadExpression{Message: err.Error()}
	}
	return out, nil
}

// native turns a value into what CEL works on. JSON integers stay integers.
func native(v Value, found bool) (any, error) {
	if !found {
		return nil, nil
	}
	if !v.IsJSON() {
		return v.Data, nil
	}
	d := json.NewDecoder(bytes.NewReader(v.Data))
	d.UseNumber()
	var x any
	if err := d.Decode(&x); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return exact(x)
}

func exact(x any) (any, error) {
	switch x := x.(type) {
	case json.Number:
		if n, err := strconv.ParseInt(string(x), 10, 64); err == nil {
			return n, nil
		}
		if n, err := strconv.ParseUint(string(x), 10, 64); err == nil {
			return n, nil
		}
		f, err := strconv.ParseFloat(string(x), 64)
		if err != nil {
			return nil, fmt.Errorf("the number %s is out of range", x)
		}
		return f, nil
	case []any:
		for i := range x {
			y, err := exact(x[i])
			if err != nil {
				return nil, err
			}
			x[i] = y
		}
	case map[string]any:
		for k := range x { // order does not matter: each entry is replaced by itself
			y, err := exact(x[k])
			if err != nil {
				return nil, err
			}
			x[k] = y
		}
	}
	return x, nil
}

var errNoJSON = errors.New("the result has no JSON form")

// appendJSON writes a CEL value as JSON, map keys sorted: two evaluations give the same bytes.
func appendJSON(b []byte, v ref.Val) ([]byte, error) {
	switch v := v.(type) {
	case types.Null:
		return append(b, "null"...), nil
	case types.Bool:
		return strconv.AppendBool(b, bool(v)), nil
	case types.Int:
		return strconv.AppendInt(b, int64(v), 10), nil
	case types.Uint:
		return strconv.AppendUint(b, uint64(v), 10), nil
	case types.Double:
		f := float64(v)
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("%v has no JSON form", f)
		}
		return strconv.AppendFloat(b, f, 'g', -1, 64), nil
	case types.String:
		return appendString(b, string(v))
	case types.Timestamp:
		return appendString(b, v.Time.UTC().Format(time.RFC3339Nano))
	case traits.Lister:
		b = append(b, '[')
		for i, first := v.Iterator(), true; i.HasNext() == types.True; first = false {
			if !first {
				b = append(b, ',')
			}
			var err error
			if b, err = appendJSON(b, i.Next()); err != nil {
				return nil, err
			}
		}
		return append(b, ']'), nil
	case traits.Mapper:
		var keys []string
		for i := v.Iterator(); i.HasNext() == types.True; {
			k, ok := i.Next().(types.String)
			if !ok {
				return nil, errors.New("map keys must be strings")
			}
			keys = append(keys, string(k))
		}
		slices.Sort(keys)
		b = append(b, '{')
		for n, k := range keys {
			if n > 0 {
				b = append(b, ',')
			}
			var err error
			if b, err = appendString(b, k); err != nil {
				return nil, err
			}
			b = append(b, ':')
			if b, err = appendJSON(b, v.Get(types.String(k))); err != nil {
				return nil, err
			}
		}
		return append(b, '}'), nil
	}
	return nil, errNoJSON
}

func appendString(b []byte, s string) ([]byte, error) {
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		return nil, err
	}
	return append(b, bytes.TrimSuffix(buf.Bytes(), []byte("\n"))...), nil
}
