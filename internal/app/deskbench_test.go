package app

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "modernc.org/sqlite" // the driver that the store uses, for the bare insert

	"sallyport/internal/label"
)

// BenchmarkData puts and gets items of 1 KiB through the gate, in turns with a
// bare durable insert of the same size. A put is a mediated action with the
// vault's own commits inside, a replacement one that also takes the old version out
// of the files, a get one that opens an envelope.
func BenchmarkData(b *testing.B) {
	home := filepath.Join(b.TempDir(), "state")
	if err := os.Mkdir(home, 0o700); err != nil {
		b.Fatal(err)
	}
	a, err := Open(b.Context(), Options{Home: home, Environ: []string{"HOME=" + b.TempDir()}, Create: true})
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	at, err := a.bench(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer at.desk.close()
	if err := at.desk.unlock(b.Context(), false); err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(b.TempDir(), "bare.db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	if _, err := db.Exec(`CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB)`); err != nil {
		b.Fatal(err)
	}
	data, secret := []byte(strings.Repeat("plan ", 205)[:1024]), label.New(label.Secret, label.Member, 0)
	if _, err := at.put(b.Context(), "plan", "secret/member", secret, data); err != nil {
		b.Fatal(err)
	}
	n := 0
	for name, act := range map[string]func() error{
		"put": func() error {
			n++
			_, err := at.put(b.Context(), fmt.Sprintf("plan-%d", n), "secret/member", secret, data)
			return err
		},
		"replace": func() error { _, err := at.put(b.Context(), "plan", "", secret, data); return err },
		"get":     func() error { _, _, err := at.get(b.Context(), "plan", nil); return err },
	} {
		b.Run(name, func(b *testing.B) {
			var ours, bare []time.Duration
			timed := func(took *[]time.Duration, f func() error) {
				start := time.Now()
				if err := f(); err != nil {
					b.Fatal(err)
				}
				*took = append(*took, time.Since(start))
			}
			for b.Loop() {
				timed(&ours, act)
				timed(&bare, func() error { _, err := db.Exec(`INSERT INTO t (data) VALUES (?)`, data); return err })
			}
			slices.Sort(ours)
			slices.Sort(bare)
			b.ReportMetric(0, "ns/op") // a mean says less
			b.ReportMetric(float64(ours[len(ours)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(ours[len(ours)*99/100].Microseconds()), "p99-µs")
			b.ReportMetric(float64(ours[len(ours)/2])/float64(bare[len(bare)/2]), "x-bare-insert")
		})
	}
}
