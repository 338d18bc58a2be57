package config

import (
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
)

// Show writes the settings as a beldi.yaml, each with the place it came from. Secrets are masked.
func (l *Loaded) Show(w io.Writer) error {
	var b strings.Builder
	section := ""
	for _, s := range Settings {
		head, name, nested := strings.Cut(s.Key, ".")
		indent := "  "
		if !nested {
			head, name, indent = "", s.Key, ""
		}
		if head != section && head != "" {
			fmt.Fprintf(&b, "%s:\n", head)
		}
		section = head
		value := s.Get(&l.Config)
		if s.Secret && value != "" {
			value = "********"
		}
		if value == "" {
			fmt.Fprintf(&b, "%s# %s is not set\n", indent, name)
			continue
		}
		fmt.Fprintf(&b, "%s%s: %s # %s\n", indent, name, scalar(value), l.Origin(s.Key))
	}
	if len(l.Services) > 0 {
		fmt.Fprintf(&b, "%s:\n", Services)
	}
	for _, name := range slices.Sorted(maps.Keys(l.Services)) {
		s := l.Services[name]
		functions := make([]string, len(s.Functions))
		for i, f := range s.Functions {
			functions[i] = scalar(f)
		}
		fmt.Fprintf(&b, "  %s: # %s\n    endpoint: %s\n    functions: [%s]\n",
			scalar(name), l.Origin(Services+"."+name), scalar(s.Endpoint), strings.Join(functions, ", "))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var bare = regexp.MustCompile(`^[A-Za-z0-9._/-][A-Za-z0-9._/:-]*$`)

// scalar quotes a text where YAML would not read it as a single value. Numbers and words like `off` may stand bare:
// our reader takes the text of a value, whatever type YAML sees in it – but for null, which is no value.
func scalar(text string) string {
	if bare.MatchString(text) && !strings.EqualFold(text, "null") && !strings.HasSuffix(text, ":") && text != "-" {
		return text
	}
	out, err := yaml.Marshal(text)
	if err != nil {
		return fmt.Sprintf("%q", text) // a double-quoted Go string is one in YAML, too
	}
	return strings.TrimSpace(string(out))
}
