package modelserver

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
)

// Serve runs a server for a script test that starts it as a process: it loads
// scriptFile, writes its address to urlFile once it listens, and serves until
// ctx ends. Then it writes what it was asked, as JSON, to urlFile + ".asked".
func Serve(ctx context.Context, scriptFile, urlFile string) error {
	f, err := os.Open(scriptFile)
	if err != nil {
		return fmt.Errorf("modelserver: %w", err)
	}
	script, err := Load(f)
	_ = f.Close()
	if err != nil {
		return err
	}
	s, err := Start("127.0.0.1:0", script)
	if err != nil {
		return err
	}
	defer s.Close()
	// Whoever waits for the file must never read half of an address.
	if err := os.WriteFile(urlFile+".new", []byte(s.URL), 0o600); err != nil {
		return fmt.Errorf("modelserver: %w", err)
	}
	if err := os.Rename(urlFile+".new", urlFile); err != nil {
		return fmt.Errorf("modelserver: %w", err)
	}
	<-ctx.Done()
	type asked struct {
		Form, Path, Body string
		Stream           bool
	}
	list := []asked{}
	for _, r := range s.Requests() {
		list = append(list, asked{r.Form, r.Path, string(r.Body), r.Stream})
	}
	b, err := json.MarshalIndent(list, "", "  ")
	if err != nil {
		return fmt.Errorf("modelserver: %w", err)
	}
	return os.WriteFile(urlFile+".asked", b, 0o600)
}
