package app

import (
	"context"
	"path/filepath"

	"sallyport/internal/config"
	"sallyport/internal/fault"
	"sallyport/internal/policy"
)

// Options say where an installation is and how it is opened.
type Options struct {
	Home      string   // --home; "" means $SALLYPORT_HOME, else ~/.sallyport
	Config    string   // --config; "" looks beside AgentFile, then in the state directory
	AgentFile string   // the agent file or directory, when a command has one
	Environ   []string // the process environment, NAME=value
	Create    bool     // make the state directory when it does not exist
}

// App is an opened installation. It is safe for concurrent use.
type App struct {
	Paths   Paths
	Config  *config.Config
	Env     *config.Env
	Notices []string // what the operator should know; nothing that prevents work

	exists   bool     // the state directory was there
	envFiles []string // the .env files that may have been read
	lazy     *database
	texts    *lazyScreening
	unlock   *unlocker     // asks for the vault's passphrase
	sinks    []policy.Sink // of one guarded run, beside those of the configuration
}

// Open reads the configuration and checks the state directory. Errors are of
// kind fault.Config (a file or a permission is wrong), fault.Denied (somebody
// else's directory) or fault.Unavailable. The database is opened when the
// first question needs it.
func Open(ctx context.Context, o Options) (*App, error) {
	if err := ctx.Err(); err != nil {
		return nil, fault.Wrap("app.open", fault.Canceled, err)
	}
	home, err := stateHome(o.Home, o.Environ)
	if err != nil {
		return nil, err
	}
	exists, err := checkHome(home)
	if err != nil {
		return nil, err
	}
	cfg, err := loadConfig(o, home)
	if err != nil {
		return nil, err
	}
	files := envFiles(o, home)
	env, err := loadEnv(files, o, home)
	if err != nil {
		return nil, err
	}
	if o.Create {
		if err := makeHome(home); err != nil {
			return nil, err
		}
		exists = true
	}
	paths := statePaths(home, env.NAISYSFolder(home), cfg)
	renamed, err := checkNames(paths.Keys, cfg)
	if err != nil {
		return nil, err
	}
	a := &App{Paths: paths, Config: cfg, Env: env, exists: exists, envFiles: files}
	a.Notices = append(append(a.Notices, cfg.Notices...), env.Notices...)
	a.Notices = append(a.Notices, a.Replaced()...)
	if renamed != "" {
		a.Notices = append(a.Notices, renamed)
	}
	a.lazy = newDatabase(paths, cfg, o.Environ, env)
	a.texts = &lazyScreening{cfg: cfg, env: env}
	a.unlock = newUnlocker(passphraseVar, env.Lookup)
	return a, nil
}

// Close releases what was opened.
func (a *App) Close() error {
	if a == nil {
		return nil
	}
	return a.lazy.close()
}

func loadConfig(o Options, home string) (*config.Config, error) {
	path, ok, err := config.Find(config.Lookup{Explicit: o.Config, AgentFile: o.AgentFile, StateDir: home})
	if err != nil {
		return nil, err
	}
	if !ok {
		path = ""
	}
	return config.Load(path, filepath.Join(home, "profiles"))
}

// envFiles are the .env files that are read: beside the agent file and in the
// state directory. The working directory's is not: it may belong to what an
// agent works on.
func envFiles(o Options, home string) []string {
	var files []string
	if o.AgentFile != "" {
		files = append(files, filepath.Join(agentDir(o.AgentFile), ".env"))
	}
	return append(files, filepath.Join(home, ".env"))
}

func loadEnv(files []string, o Options, home string) (*config.Env, error) {
	env, err := config.LoadEnv(files, o.Environ)
	if err != nil {
		return nil, err
	}
	return env.WithStateDir(home), nil
}
