package cli

import (
	"path/filepath"
	"strings"

	"sallyport/internal/app"
)

// foldersCmd is `sallyport folders`.
type foldersCmd struct {
	List  foldersListCmd  `cmd:"" default:"withargs" help:"List labelled folders, and directories that sessions gave a label."`
	Lower foldersLowerCmd `cmd:"" help:"Give a directory that sessions wrote a lower label, once people signed."`
}

// foldersLowerCmd is `sallyport folders lower`.
type foldersLowerCmd struct {
	Path    string `arg:"" help:"The directory, as \"sallyport folders\" lists it."`
	Label   string `arg:"" help:"The label it shall have: LEVEL{COMPARTMENTS}/INTEGRITY."`
	Because string `required:"" help:"What for; people read it before they sign."`
	Yes     bool   `short:"y" help:"Sign with the owner's key without asking again."`
}

// Help teaches.
func (foldersLowerCmd) Help() string {
	return `Look at what is in there first: the next session in it may tell it to whoever may hear the new label.
No session that knows more may run in it meanwhile. Example:
  sallyport folders lower ~/.sallyport/home/clerk internal --because "emptied"`
}

// Run lowers.
func (f foldersLowerCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		path, err := filepath.Abs(f.Path)
		if err != nil {
			return err
		}
		got, err := a.LowerPlace(c.ctx, path, f.Label, f.Because, c.asker(f.Yes))
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(got)
		}
		c.printf("%s is %s now\n", visible(got.Path), visible(got.Label))
		return nil
	})
}

// foldersListCmd is `sallyport folders [list]`.
type foldersListCmd struct{}

// Help teaches.
func (foldersCmd) Help() string {
	return `A labelled folder (folders: in the configuration) is empty in a session until a program inside asks
for it and the session's label was raised to the folder's. Directories that outlive sessions take on
the label of what wrote them, and the next session in them begins there. Examples:
  sallyport folders
  echo hr > /run/sallyport/open     inside a session: asks for the folder hr
  cat /run/sallyport/answer         what came of it`
}

// Run lists.
func (foldersListCmd) Run(c *call) error {
	return c.with(func(a *app.App) error {
		folders := a.Folders()
		places, err := a.PlaceLabels(c.ctx)
		if err != nil {
			return err
		}
		if c.flags.JSON {
			return c.json(map[string]any{"folders": folders, "places": places})
		}
		if len(folders) == 0 {
			c.printf("no labelled folders; `folders:` in the configuration names some\n")
		} else {
			t := table{cols: []column{{title: "FOLDER"}, {title: "LABEL"}, {title: "FOR"}, {title: "PATH", flex: true}, {title: "IN SESSIONS AT", flex: true}}}
			for _, f := range folders {
				who := "all that are cleared"
				if len(f.Agents) > 0 {
					who = strings.Join(f.Agents, ", ")
				}
				t.add(plain(f.Name), plain(f.Label), plain(who), plain(f.Path), plain(f.At))
			}
			t.print(c)
		}
		if len(places) == 0 {
			return nil
		}
		c.printf("\n")
		t := table{cols: []column{{title: "DIRECTORY", flex: true}, {title: "HOLDS"}}}
		for _, p := range places {
			t.add(plain(p.Path), plain(p.Label))
		}
		t.print(c)
		return nil
	})
}
