package app

import (
	"context"
	"errors"
	"path/filepath"

	"sallyport/internal/config"
	"sallyport/internal/fault"
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

	exists bool // the state directory was there
	lazy   *database
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
	env, err := loadEnv(o, home)
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
	a := &App{Paths: paths, Config: cfg, Env: env, exists: exists}
	a.Notices = append(append(a.Notices, cfg.Notices...), env.Notices...)
	a.lazy = newDatabase(paths)
	return a, nil
}

// Close releases what was opened.
func (a *App) Close() error {
	if a == nil {
		return nil
	}
	return errors.Join(a.lazy.close())
}

func loadConfig(o Options, home string) (*config.Config, error) {
	path, ok, err := config.Find(config.Lookup{Explicit: o.Config, AgentFile: o.AgentFile, StateDir: home})
	if err != nil {
		return nil, err
	}
	if !ok {
		return config.Default(), nil
	}
	return config.Load(path)
}

// loadEnv reads .env beside the agent file and in the state directory. The
// working directory's is not read: it may belong to what an agent works on.
func loadEnv(o Options, home string) (*config.Env, error) {
	var files []string
	if o.AgentFile != "" {
		files = append(files, filepath.Join(agentDir(o.AgentFile), ".env"))
	}
	env, err := config.LoadEnv(append(files, filepath.Join(home, ".env")), o.Environ)
	if err != nil {
		return nil, err
	}
	return env.WithStateDir(home), nil
}
