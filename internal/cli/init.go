package cli

import "sallyport/internal/app"

// initCmd is `sallyport init`.
type initCmd struct {
	Force bool `help:"Replace an existing configuration; the old one is kept as sallyport.yaml.bak."`
}

// Help teaches.
func (initCmd) Help() string {
	return `Makes the state directory (mode 0700) and writes every setting with its default
and a comment. What exists is kept. Examples:
  sallyport init
  sallyport init --home /srv/sallyport`
}

// Run makes what is missing and says the next step.
func (i initCmd) Run(c *call) error {
	res, err := app.Init(c.flags.Home, c.environ, i.Force)
	if err != nil {
		return err
	}
	if c.flags.JSON {
		return c.json(res)
	}
	for _, p := range res.Created {
		c.printf("created  %s\n", visible(p))
	}
	for _, p := range res.Kept {
		c.printf("kept     %s\n", visible(p))
	}
	c.printf("\nNext: edit %s, then `sallyport config check` and `sallyport doctor`.\n", visible(res.Config))
	return nil
}
