package faultstore

import (
	"fmt"
	"strings"

	"github.com/beldi/beldi/backends"
)

// line is a call in the trace.
type line struct {
	call   Call
	fault  Fault
	answer string // what the wrapped store said, if it was asked
	err    error  // what the caller got
	done   bool
}

// Trace returns one line for each call, in the order of their numbers, for the message of a failing test:
//
//	#7 apply cell["accounts" "alice"]/"" if rev=3 do v="90" rev+1 -> refused by 0: {rev=4 v="100"}
func (s *Store) Trace() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, l := range s.trace {
		fmt.Fprintf(&b, "#%d %s\n", l.call.N, l)
	}
	return b.String()
}

func (l *line) String() string {
	var b strings.Builder
	b.WriteString(l.call.String())
	if l.fault.act != pass {
		fmt.Fprintf(&b, " [%s]", l.fault)
	}
	if l.answer != "" {
		b.WriteString(" -> " + l.answer)
	}
	switch {
	case l.err != nil:
		fmt.Fprintf(&b, " -> error: %v", l.err)
	case !l.done:
		b.WriteString(" -> (waiting)")
	}
	return b.String()
}

func (f Fault) String() string {
	return [...]string{"pass", "lost", "applied, lost", "hold", "hold after", "crash before", "crash after"}[f.act]
}

func (c Call) String() string {
	switch c.Method {
	case Get:
		return "get " + keyText(c.Key)
	case Apply:
		parts := make([]string, len(c.Batch))
		for i := range c.Batch {
			parts[i] = updateText(&c.Batch[i])
		}
		return "apply " + strings.Join(parts, "; ")
	}
	r := c.Range
	text := fmt.Sprintf("%s %s%s limit %d", c.Method, r.Kind, partText(r.Part), r.Limit)
	if r.Prefix != "" {
		text += fmt.Sprintf(" prefix %q", r.Prefix)
	}
	if r.After != (backends.Key{}) {
		text += " after " + keyText(r.After)
	}
	if r.Fields != nil {
		text += fmt.Sprintf(" fields %q", r.Fields)
	}
	if r.Descending {
		text += " descending"
	}
	return text
}

func keyText(k backends.Key) string { return fmt.Sprintf("%s%s/%q", k.Kind, partText(k.Part), k.Sort) }

// partText shows the parts of a tuple, or the string if it is none.
func partText(part string) string {
	if parts, err := backends.ParseTuple(part); err == nil {
		return fmt.Sprintf("%q", parts)
	}
	return fmt.Sprintf("(%q)", part)
}

func updateText(u *backends.Update) string {
	var b strings.Builder
	b.WriteString(keyText(u.Key))
	for i, c := range u.When {
		b.WriteString([]string{" if ", " and "}[min(i, 1)])
		b.WriteString(condText(c))
	}
	if u.Delete {
		b.WriteString(" delete")
	}
	for i, c := range u.Do {
		b.WriteString([]string{" do ", " "}[min(i, 1)])
		b.WriteString(changeText(c))
	}
	return b.String()
}

func condText(c backends.Cond) string {
	switch c.Test {
	case backends.Exists:
		return "exists"
	case backends.Missing:
		return "missing"
	case backends.Absent:
		return c.Field + " absent"
	case backends.Equal:
		return c.Field + "=" + valueText(c.Value)
	case backends.AtMost:
		return c.Field + "<=" + valueText(c.Value)
	case backends.LessThan:
		return c.Field + "<" + valueText(c.Value)
	}
	return fmt.Sprintf("test %d", c.Test)
}

func changeText(c backends.Change) string {
	switch {
	case c.Add != 0:
		return fmt.Sprintf("%s%+d", c.Field, c.Add)
	case c.Set.Absent():
		return "-" + c.Field
	}
	return c.Field + "=" + valueText(c.Set)
}

func valueText(v backends.Value) string {
	const longest = 48
	switch {
	case v.IsInt():
		return fmt.Sprint(v.Int)
	case v.IsBytes() && len(v.Bytes) > longest:
		return fmt.Sprintf("%q… (%d bytes)", v.Bytes[:longest], len(v.Bytes))
	case v.IsBytes():
		return fmt.Sprintf("%q", v.Bytes)
	}
	return "absent"
}

func rowText(r backends.Row) string {
	if !r.Exists() {
		return "no row"
	}
	parts := make([]string, len(r))
	for i, f := range r {
		parts[i] = f.Name + "=" + valueText(f.Value)
	}
	return "{" + strings.Join(parts, " ") + "}"
}

func answerText(a backends.Answer) string {
	if a.Outcome == backends.Refused {
		return fmt.Sprintf("refused by %d: %s", a.Index, rowText(a.Row))
	}
	return a.Outcome.String()
}
