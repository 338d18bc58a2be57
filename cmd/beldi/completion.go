package main

import (
	"fmt"
	"sort"
	"strings"

	"github.com/alecthomas/kong"
)

type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Run prints a script made from the command tree; it needs no call back into beldi.
func (c *completionCmd) Run(e *env, k *kong.Kong) error {
	words := map[string][]string{}
	collect(k.Model.Node, "", words)
	paths := make([]string, 0, len(words))
	for path := range words {
		paths = append(paths, path)
	}
	sort.Strings(paths)
	var b strings.Builder
	switch c.Shell {
	case "fish":
		for _, path := range paths {
			fmt.Fprintf(&b, "complete -c beldi -f -n 'test (string join \" \" (string match -v -- \"-*\" (commandline -opc)[2..])) = %q' -a %q\n",
				path, strings.Join(words[path], " "))
		}
	default:
		if c.Shell == "zsh" {
			b.WriteString("autoload -U +X bashcompinit && bashcompinit\n")
		}
		b.WriteString("_beldi() {\n  local path= word\n  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n" +
			"    [[ $word == -* ]] || path+=\"${path:+ }$word\"\n  done\n  case \"$path\" in\n")
		for _, path := range paths {
			fmt.Fprintf(&b, "  %q) COMPREPLY=($(compgen -W %q -- \"${COMP_WORDS[COMP_CWORD]}\")) ;;\n", path, strings.Join(words[path], " "))
		}
		b.WriteString("  *) COMPREPLY=() ;;\n  esac\n}\ncomplete -o default -F _beldi beldi\n")
	}
	_, err := e.stdout.Write([]byte(b.String()))
	return err
}

// collect gathers, for each command path, the commands and flags that may follow.
func collect(n *kong.Node, path string, words map[string][]string) {
	var next []string
	for _, child := range n.Children {
		next = append(next, child.Name)
		collect(child, strings.TrimSpace(path+" "+child.Name), words)
	}
	for _, flag := range n.Flags {
		if !flag.Hidden {
			next = append(next, "--"+flag.Name)
		}
	}
	words[path] = next
}
