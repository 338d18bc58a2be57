package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
)

// output is for commands that print lists.
type output struct {
	Output string `short:"o" enum:"table,json" default:"table" help:"table or json."`
}

func (o output) print(e *env, data any, table func(*tabwriter.Writer)) error {
	if o.Output == "json" {
		enc := json.NewEncoder(e.stdout)
		enc.SetIndent("", "  ")
		enc.SetEscapeHTML(false)
		return enc.Encode(data)
	}
	w := tabwriter.NewWriter(e.stdout, 0, 0, 2, ' ', 0)
	table(w)
	return w.Flush()
}

// cut makes a text fit a column of a table.
func cut(text string, width int) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-1]) + "…"
	}
	return text
}

func ago(t time.Time) string {
	d := time.Since(t)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// progress is a bar that appears on a terminal once the work has taken a second, and never elsewhere.
type progress struct {
	bar   *progressbar.ProgressBar
	what  string
	total int64 // -1: not known
	done  int64
	began time.Time
	to    io.Writer
}

func newProgress(e *env, what string, total int64) *progress {
	p := &progress{what: what, total: total, began: time.Now()}
	if isTerminal(e.stderr) {
		p.to = e.stderr
	}
	return p
}

func (p *progress) add(n int) {
	p.done += int64(n)
	if p.to == nil {
		return
	}
	if p.bar == nil && time.Since(p.began) > time.Second {
		p.bar = progressbar.NewOptions64(p.total,
			progressbar.OptionSetWriter(p.to),
			progressbar.OptionSetDescription(p.what),
			progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond),
			progressbar.OptionClearOnFinish())
	}
	if p.bar != nil {
		_ = p.bar.Set64(p.done) // the bar is a courtesy: a terminal that is gone must not end the work
	}
}

func (p *progress) end() {
	if p.bar != nil {
		_ = p.bar.Finish()
	}
}
