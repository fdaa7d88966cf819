package app

import (
	"context"
	"fmt"
	"os"

	"sallyport/internal/fault"
	"sallyport/internal/vault"
)

// Replaced answers the settings of older programs that are set here and mean
// nothing any more: SECRET_KEY and SALT_VALUE.
func (a *App) Replaced() []string {
	var out []string
	for _, r := range vault.Replacements(a.Env.Lookup) {
		out = append(out, r.Answer)
	}
	return out
}

// checkVault looks at the vault without opening it: a passphrase is asked for by
// who needs an item.
func (a *App) checkVault(ctx context.Context) []Check {
	skip := Check{Area: "vault", Name: "items", State: CheckSkip, Detail: "none yet; `sallyport data put` makes the vault"}
	keys, err := a.VaultKeys(ctx)
	if fault.Is(err, fault.NotFound) {
		return []Check{skip}
	}
	if err != nil {
		return []Check{{Area: "vault", Name: "items", State: CheckFail, Detail: sentence(err), Remedy: "sallyport data check"}}
	}
	items, old := 0, 0
	for _, e := range keys.Epochs {
		if items += e.Items; e.Epoch < keys.Epoch {
			old += e.Items
		}
	}
	out := []Check{{Area: "vault", Name: "items", State: CheckOK, Detail: fmt.Sprintf("%d sealed, epoch %d", items, keys.Epoch)}}
	if keys.Oldest < keys.Epoch {
		out = append(out, Check{
			Area: "vault", Name: "epochs", State: CheckWarn,
			Detail: fmt.Sprintf("epochs before %d are not retired, so backups of then open what was erased since; %d record keys are wrapped in one", keys.Epoch, old),
			Remedy: "sallyport data keys rewrap && sallyport data keys retire",
		})
	}
	return append(out, a.checkRoot(ctx))
}

// checkRoot looks whether the root key is where vault.root says.
func (a *App) checkRoot(ctx context.Context) Check {
	c := Check{Area: "vault", Name: "root key", State: CheckOK, Detail: a.Config.Vault.Root}
	switch a.Config.Vault.Root {
	case "keyring":
		r, err := a.root(ctx, false)
		if err == nil {
			r.Wipe()
		} else {
			c.State, c.Detail, c.Remedy = CheckFail, sentence(err), "unlock the keyring, or restore a backup"
		}
	default:
		info, err := os.Lstat(a.rootPath())
		switch {
		case err != nil:
			c.State, c.Detail, c.Remedy = CheckFail, a.rootPath()+" is not there, so no item opens", "put the file back, or restore a backup"
		case !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0:
			c.State, c.Detail = CheckFail, fmt.Sprintf("%s is no file of mode 0600, so others can read what it seals", a.rootPath())
			c.Remedy = "chmod 600 " + a.rootPath() + ", then rotate what may have been read"
		case a.Config.Vault.Root == "file":
			c.Detail = "in " + a.rootPath() + ": who reads that file and the database reads every item"
		}
	}
	return c
}
