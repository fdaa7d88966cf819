package app

type database struct{ paths Paths }

func newDatabase(p Paths) *database { return &database{paths: p} }

func (d *database) close() error { return nil }
