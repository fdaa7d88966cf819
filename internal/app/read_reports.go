package app

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/internal/fault"
)

// Report is one security report that an agent left. Its text is the agent's
// word, not evidence.
type Report struct {
	N       int       `json:"n"` // 1 is the newest
	File    string    `json:"file"`
	Level   int       `json:"level"` // warning level 1 to 5 from the file's name; 0 when it has none
	Host    string    `json:"host,omitempty"`
	Written time.Time `json:"written"`
	Bytes   int64     `json:"bytes"`
	Data    string    `json:"data_file,omitempty"` // the same report as JSON, when there is one
}

var (
	reportName  = regexp.MustCompile(`^(\d{4}-\d{2}-\d{2}(?:[-_T]\d{4,6})?)-level([1-5])-(.+)\.txt$`)
	reportLevel = regexp.MustCompile(`(?i)level[-_ ]?([1-5])`)
)

// Reports lists the reports, newest first.
func (a *App) Reports() ([]Report, error) {
	entries, err := os.ReadDir(a.Paths.Reports)
	if errors.Is(err, fs.ErrNotExist) {
		return []Report{}, nil
	}
	if err != nil {
		return nil, &fault.Error{
			Op: "app.reports", Kind: fault.Unavailable, Err: err,
			Public: "the report folder " + a.Paths.Reports + " cannot be read; check its permissions",
		}
	}
	out := reportsIn(a.Paths.Reports, entries)
	for _, e := range entries { // agents of an organisation have folders of their own
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(a.Paths.Reports, e.Name())
		if own, err := os.ReadDir(dir); err == nil {
			out = append(out, reportsIn(dir, own)...)
		}
	}
	slices.SortFunc(out, func(x, y Report) int {
		return cmp.Or(y.Written.Compare(x.Written), cmp.Compare(y.File, x.File))
	})
	for i := range out {
		out[i].N = i + 1
	}
	return out, nil
}

func reportsIn(dir string, entries []fs.DirEntry) []Report {
	out := []Report{}
	for _, e := range entries {
		if !e.Type().IsRegular() || filepath.Ext(e.Name()) != ".txt" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		out = append(out, describeReport(dir, info))
	}
	return out
}

func describeReport(dir string, info fs.FileInfo) Report {
	name := info.Name()
	r := Report{File: filepath.Join(dir, name), Written: info.ModTime().UTC(), Bytes: info.Size()}
	if m := reportName.FindStringSubmatch(name); m != nil {
		r.Level, _ = strconv.Atoi(m[2])
		r.Host = m[3]
	} else if m := reportLevel.FindStringSubmatch(name); m != nil {
		r.Level, _ = strconv.Atoi(m[1])
	}
	data := strings.TrimSuffix(r.File, ".txt") + ".json"
	if st, err := os.Lstat(data); err == nil && st.Mode().IsRegular() {
		r.Data = data
	}
	return r
}

const maxReport = 4 << 20 // bytes of a report that are shown

// ReadReport gives a report's text, at most 4 MiB of it, and its JSON form when
// there is a valid one. n counts from 1, the newest; fault.NotFound otherwise.
func (a *App) ReadReport(n int) (Report, string, json.RawMessage, error) {
	all, err := a.Reports()
	if err != nil {
		return Report{}, "", nil, err
	}
	if n < 1 || n > len(all) {
		return Report{}, "", nil, fault.New("app.report", fault.NotFound,
			"there is no report %d, %d exist; `sallyport reports` lists them", n, len(all))
	}
	r := all[n-1]
	text, err := readBounded(r.File)
	if err != nil {
		return Report{}, "", nil, err
	}
	if r.Data == "" {
		return r, string(text), nil, nil
	}
	data, err := readBounded(r.Data)
	if err != nil || !json.Valid(data) {
		return r, string(text), nil, nil
	}
	return r, string(text), data, nil
}

// readBounded reads a regular file and refuses to follow a link: the agent
// writes this folder.
func readBounded(path string) ([]byte, error) {
	f, err := openRegular(path)
	if err != nil {
		return nil, fault.Wrap("app.report", fault.Unavailable, err)
	}
	defer f.Close() //nolint:errcheck // read only
	b, err := io.ReadAll(io.LimitReader(f, maxReport))
	return b, fault.Wrap("app.report", fault.Unavailable, err)
}
