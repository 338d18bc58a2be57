package config

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// FileName is the file that is read if no other is named and it is there.
const FileName = "beldi.yaml"

// Services is the key of the one setting that is no scalar. As a flag (repeatable) and in the environment (separated
// by spaces) a service is NAME=URL#FUNCTION,FUNCTION.
const Services = "services"

// Source says where settings come from.
type Source struct {
	File  string                      // "": FileName, if it is there
	Env   func(string) (string, bool) // nil: no environment
	Flags map[string]string           // by Setting.Flag, and Services
}

// Loaded is a configuration that knows where each of its settings came from.
type Loaded struct {
	Config
	File   string // the file that was read, or ""
	origin map[string]place
}

// Origin says where the value of a key came from: "default", "beldi.yaml:3:5", "BELDI_STORE" or "--store".
func (l *Loaded) Origin(key string) string {
	if p, ok := l.origin[key]; ok {
		return p.String()
	}
	return "default"
}

// Mistake is one thing that is wrong, where it stands.
type Mistake struct {
	place
	Key  string // the setting, if it is known
	What string
}

func (m Mistake) Error() string {
	if m.Key == "" {
		return fmt.Sprintf("%s: %s", m.place, m.What)
	}
	return fmt.Sprintf("%s: %s %s", m.place, m.Key, m.What)
}

// Mistakes is the error of Load: all that is wrong, in the order file, environment, flags.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	lines := make([]string, len(m))
	for i, mistake := range m {
		lines[i] = mistake.Error()
	}
	return strings.Join(lines, "\n")
}

// place is a position in the file, or the name of a variable or flag.
type place struct {
	name         string
	line, column int
}

func (p place) String() string {
	if p.line == 0 {
		return p.name
	}
	return fmt.Sprintf("%s:%d:%d", p.name, p.line, p.column)
}

// Load reads all sources over the defaults. Its error is Mistakes, or the reason why a named file cannot be read.
func Load(src Source) (*Loaded, error) {
	l := &loader{Loaded: Loaded{Config: Default(), origin: map[string]place{}}}
	if err := l.file(src.File); err != nil {
		return nil, err
	}
	if src.Env != nil {
		l.flat(func(s Setting) (string, string, bool) {
			text, ok := src.Env(s.Env())
			return s.Env(), text, ok
		})
	}
	l.flat(func(s Setting) (string, string, bool) {
		text, ok := src.Flags[s.Flag]
		return "--" + s.Flag, text, ok
	})
	l.together()
	if len(l.mistakes) > 0 {
		slices.SortStableFunc(l.mistakes, inFile)
		return nil, l.mistakes
	}
	return &l.Loaded, nil
}

// inFile orders mistakes as they stand in the file; those elsewhere follow in the order in which they were found.
func inFile(a, b Mistake) int {
	if a.line == 0 || b.line == 0 {
		return cmp.Compare(b.line, a.line)
	}
	return cmp.Or(cmp.Compare(a.line, b.line), cmp.Compare(a.column, b.column))
}

type loader struct {
	Loaded
	mistakes Mistakes
}

func (l *loader) wrong(p place, key, format string, args ...any) {
	l.mistakes = append(l.mistakes, Mistake{p, key, fmt.Sprintf(format, args...)})
}

func (l *loader) set(s Setting, p place, text string) {
	if err := s.set(&l.Config, text); err != nil {
		l.wrong(p, s.Key, "%s; want %s", err, s.Wants)
		return
	}
	l.origin[s.Key] = p
}

// flat reads settings from a source that maps names to text.
func (l *loader) flat(lookup func(Setting) (name, text string, ok bool)) {
	for _, s := range Settings {
		if name, text, ok := lookup(s); ok {
			l.set(s, place{name: name}, text)
		}
	}
	name, text, ok := lookup(Setting{Key: Services, Flag: "services"})
	if !ok {
		return
	}
	p := place{name: name}
	for _, one := range strings.Fields(text) {
		service, rest, found := strings.Cut(one, "=")
		endpoint, functions, hash := strings.Cut(rest, "#")
		if !found || !hash {
			l.wrong(p, Services, "%q is no service; want NAME=URL#FUNCTION,FUNCTION", one)
			continue
		}
		l.service(p, service, Service{endpoint, strings.Split(functions, ",")})
	}
}

// together checks what no setting can check alone.
func (l *loader) together() {
	for _, key := range []string{"listen.grpc", "listen.http"} {
		addr := l.GRPC
		if key == "listen.http" {
			addr = l.HTTP
		}
		if addr != "" && l.Token == "" && !loopback(addr) {
			l.wrong(l.origin[key], key, "%s can be reached from other machines and no token is set; "+
				"set token, or listen on 127.0.0.1", addr)
		}
	}
	if l.GRPC == "" && l.HTTP == "" && l.Socket == "" {
		l.wrong(l.origin["listen.socket"], "listen", "is off altogether; leave at least one of grpc, http and socket on")
	}
}

// file reads a YAML file by walking its tree: decoding into a struct would stop at the first mistake.
func (l *loader) file(path string) error {
	optional := path == ""
	if optional {
		path = FileName
	}
	text, err := os.ReadFile(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("config: read the settings: %w", err)
	}
	l.File = path
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		p := place{name: path, line: 1, column: 1}
		if syntax := (*yaml.SyntaxError)(nil); errors.As(err, &syntax) {
			p.line, p.column = syntax.Token.Position.Line, syntax.Token.Position.Column
			l.wrong(p, "", "%s", syntax.Message)
		} else {
			l.wrong(p, "", "%s", err)
		}
		return nil
	}
	for i, doc := range tree.Docs {
		if doc.Body == nil {
			continue
		}
		if i > 0 {
			l.wrong(l.at(doc.Body), "", "a second document; want one")
			break
		}
		l.section(doc.Body, "")
	}
	return nil
}

func (l *loader) at(n ast.Node) place {
	pos := n.GetToken().Position
	return place{l.File, pos.Line, pos.Column}
}

// section reads a mapping whose keys are settings that begin with prefix, or further sections.
func (l *loader) section(n ast.Node, prefix string) {
	entries, ok := l.mapping(n, strings.TrimSuffix(prefix, "."), "a mapping such as `"+example(prefix)+"`")
	if !ok {
		return
	}
	for _, e := range entries {
		key := prefix + e.name
		if key == Services {
			l.services(e.value)
			continue
		}
		if i := slices.IndexFunc(Settings, func(s Setting) bool { return s.Key == key }); i >= 0 {
			if text, ok := l.scalar(e.value, key, Settings[i].Wants); ok {
				l.set(Settings[i], l.at(e.value), text)
			}
			continue
		}
		if slices.ContainsFunc(Settings, func(s Setting) bool { return strings.HasPrefix(s.Key, key+".") }) {
			l.section(e.value, key+".")
			continue
		}
		l.unknown(l.at(e.key), key, names(prefix))
	}
}

func (l *loader) services(n ast.Node) {
	entries, ok := l.mapping(n, Services, "service names with `endpoint` and `functions`")
	if !ok {
		return
	}
	for _, e := range entries {
		key := Services + "." + e.name
		fields, ok := l.mapping(e.value, key, "`endpoint` and `functions`")
		if !ok {
			continue
		}
		var s Service
		whole := true
		for _, f := range fields {
			name := key + "." + f.name
			ok := true
			switch f.name {
			case "endpoint":
				s.Endpoint, ok = l.scalar(f.value, name, "the URL of the service")
			case "functions":
				s.Functions, ok = l.list(f.value, name, "a list of function names")
			default:
				l.unknown(l.at(f.key), name, []string{"endpoint", "functions"})
			}
			whole = whole && ok
		}
		if whole {
			l.service(l.at(e.key), e.name, s)
		}
	}
}

func (l *loader) service(p place, name string, s Service) {
	key := Services + "." + name
	u, err := url.Parse(s.Endpoint)
	switch {
	case name == "" || strings.Contains(name, "/"):
		l.wrong(p, key, "is no name of a service; want at least one character, and no '/'")
	case s.Endpoint == "":
		l.wrong(p, key, "has no endpoint; want the URL of the service, such as http://127.0.0.1:5000/beldi")
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		l.wrong(p, key+".endpoint", "%q is no URL; want one such as http://127.0.0.1:5000/beldi", s.Endpoint)
	case len(s.Functions) == 0 || slices.Contains(s.Functions, ""):
		l.wrong(p, key, "names no function; want a list such as `functions: [reserve, cancel]`")
	default:
		l.Services[name] = s
		l.origin[key] = p
	}
}

type entry struct {
	key   ast.Node
	name  string
	value ast.Node
}

func (l *loader) mapping(n ast.Node, key, wants string) ([]entry, bool) {
	m, ok := n.(ast.MapNode)
	if !ok {
		l.wrong(l.at(n), key, "is %s; want %s", describe(n), wants)
		return nil, false
	}
	var entries []entry
	for it := m.MapRange(); it.Next(); {
		entries = append(entries, entry{it.Key(), it.Key().GetToken().Value, it.Value()})
	}
	return entries, true
}

func (l *loader) scalar(n ast.Node, key, wants string) (string, bool) {
	switch n.(type) {
	case *ast.StringNode, *ast.LiteralNode:
		return n.(interface{ GetValue() any }).GetValue().(string), true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	}
	l.wrong(l.at(n), key, "is %s; want %s", describe(n), wants)
	return "", false
}

func (l *loader) list(n ast.Node, key, wants string) ([]string, bool) {
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		l.wrong(l.at(n), key, "is %s; want %s", describe(n), wants)
		return nil, false
	}
	var items []string
	for _, v := range seq.Values {
		item, good := l.scalar(v, key, "a function name")
		ok = ok && good
		items = append(items, item)
	}
	return items, ok
}

func describe(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode:
		return "empty"
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias, which are not read here"
	}
	return "a single value"
}

// names are the keys that may stand in the section with this prefix.
func names(prefix string) []string {
	var list []string
	for _, s := range Settings {
		if rest, ok := strings.CutPrefix(s.Key, prefix); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	if prefix == "" {
		list = append(list, Services)
	}
	return list
}

func example(prefix string) string {
	return names(prefix)[0] + ": …"
}

// unknown names the nearest known key if there is a near one, else all of them.
func (l *loader) unknown(p place, key string, known []string) {
	last := key[strings.LastIndex(key, ".")+1:]
	nearest := slices.MinFunc(known, func(a, b string) int { return cmp.Compare(distance(last, a), distance(last, b)) })
	if distance(last, nearest) <= 2 {
		l.wrong(p, key, "is not a setting; did you mean %s?", nearest)
		return
	}
	l.wrong(p, key, "is not a setting; known here: %s", strings.Join(known, ", "))
}

// distance is the edit distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			substitute := diagonal
			if a[i] != b[j] {
				substitute++
			}
			diagonal = row[j+1]
			row[j+1] = min(substitute, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
