package cli

import (
	"fmt"
	"strings"

	"github.com/alecthomas/kong"
)

// completionCmd is `sallyport completion`.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help teaches.
func (completionCmd) Help() string {
	return `Examples:
  sallyport completion bash > ~/.local/share/bash-completion/completions/sallyport
  sallyport completion zsh > "${fpath[1]}/_sallyport"
  sallyport completion fish > ~/.config/fish/completions/sallyport.fish`
}

// Run writes the script.
func (k completionCmd) Run(c *call) error {
	parser, err := c.whole()
	if err != nil {
		return err
	}
	words := completionWords(parser.Model.Node)
	switch k.Shell {
	case "bash":
		c.printf("%s", bashScript(words))
	case "zsh":
		c.printf("%s", "#compdef sallyport\nautoload -U +X bashcompinit && bashcompinit\n"+bashScript(words))
	default:
		c.printf("%s", fishScript(words))
	}
	return nil
}

// wordSet is what may follow the words of a command.
type wordSet struct {
	path  string // words after the program's name, space separated; "" at the start
	subs  []*kong.Node
	flags []*kong.Flag
}

// completionWords walks the tree, parents first.
func completionWords(n *kong.Node) []wordSet {
	var out []wordSet
	var walk func(n *kong.Node, path string)
	walk = func(n *kong.Node, path string) {
		set := wordSet{path: path}
		for _, group := range n.AllFlags(true) {
			set.flags = append(set.flags, group...)
		}
		for _, child := range n.Children {
			if child.Type == kong.CommandNode && !child.Hidden {
				set.subs = append(set.subs, child)
			}
		}
		out = append(out, set)
		for _, child := range set.subs {
			walk(child, strings.TrimSpace(path+" "+child.Name))
		}
	}
	walk(n, "")
	return out
}

func (w wordSet) words() string {
	var all []string
	for _, s := range w.subs {
		all = append(all, s.Name)
	}
	for _, f := range w.flags {
		all = append(all, "--"+f.Name)
	}
	return strings.Join(all, " ")
}

func bashScript(sets []wordSet) string {
	var b strings.Builder
	b.WriteString(`# completion of sallyport for bash
_sallyport() {
  local cur=${COMP_WORDS[COMP_CWORD]} path="" w words
  for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
    case $w in -*) ;; *) path="${path:+$path }$w" ;; esac
  done
  while :; do
    case $path in
`)
	for _, s := range sets {
		fmt.Fprintf(&b, "      %q) words=%q; break ;;\n", s.path, s.words())
	}
	b.WriteString(`      *" "*) path=${path% *} ;;
      *) path="" ;;
    esac
  done
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _sallyport sallyport
`)
	return b.String()
}

func fishScript(sets []wordSet) string {
	var b strings.Builder
	b.WriteString("# completion of sallyport for fish\n")
	for _, s := range sets {
		cond := "__fish_use_subcommand"
		if s.path != "" {
			var parts []string
			for w := range strings.FieldsSeq(s.path) {
				parts = append(parts, "__fish_seen_subcommand_from "+w)
			}
			cond = strings.Join(parts, "; and ")
		}
		for _, n := range s.subs {
			fmt.Fprintf(&b, "complete -c sallyport -f -n '%s' -a %s -d %s\n", cond, n.Name, fishQuote(n.Help))
		}
		for _, f := range s.flags {
			fmt.Fprintf(&b, "complete -c sallyport -n '%s' -l %s -d %s\n", cond, f.Name, fishQuote(f.Help))
		}
	}
	return b.String()
}

func fishQuote(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
