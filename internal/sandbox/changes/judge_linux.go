package changes

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// examine computes the Change of one path again; ok is false if there is none.
// No directory above may hide the host: see reveal.
func (v *view) examine(ctx context.Context, raw string) (c Change, ok bool, err error) {
	p := v.pair(raw, false)
	if p.same || p.up.typ == "" {
		return c, false, nil
	}
	return v.judge(ctx, raw, p)
}

// judge turns what is seen at a path into a Change. Only the end of ctx is an
// error; whatever cannot be known is a refusal.
func (v *view) judge(ctx context.Context, raw string, p pair) (c Change, ok bool, err error) {
	c = Change{
		Path: quotePath(raw), Type: p.up.typ, OldType: p.host.typ, Group: groupOf(v.under, raw),
		Mode: permissions(p.up), OldMode: permissions(p.host),
	}
	if p.host.typ == TypeFile {
		c.OldSize = p.host.st.Size
	}
	c.Kind = KindReplaced
	switch {
	case p.up.typ == typWhiteout:
		c.Kind, c.Type, c.Mode = KindDeleted, p.host.typ, 0
	case p.host.typ == "":
		c.Kind = KindAdded
	case p.host.typ == p.up.typ:
		c.Kind = KindModified
	}
	c.Refused = refusal(raw, p)
	switch p.up.typ {
	case "": // went away while the session lives
		return c, false, nil
	case typWhiteout:
		ok = p.host.typ != ""
	case TypeDir:
		if ok = p.host.typ != TypeDir || c.Mode != c.OldMode; p.host.typ == TypeDir {
			c.Kind = KindMode
		}
		ok = ok || p.up.bad != ""
	case TypeLink:
		c.Target = p.up.target
		ok = p.host.typ != TypeLink || p.host.target != p.up.target
		if c.Refused == "" {
			c.Refused = v.escapes(raw, p.up.target)
		}
	case TypeFile:
		ok, err = v.content(ctx, raw, p, &c)
	default:
		ok = true
	}
	if !ok || err != nil {
		return c, false, err
	}
	return c, true, v.circumstances(ctx, raw, p, &c)
}

// refusal says why an entry of this kind is never committed.
func refusal(raw string, p pair) string {
	if why := badName(raw); why != "" {
		return why
	}
	switch {
	case p.up.bad != "":
		return p.up.bad
	case p.host.bad != "":
		return "what stands on the host is not touched: " + p.host.bad
	case p.up.typ == TypeOther:
		return "devices, pipes and sockets are never committed; discard it"
	case p.up.typ == TypeFile && p.up.st.Mode&(unix.S_ISUID|unix.S_ISGID) != 0:
		return "a file with the set-user-id or set-group-id bit is never committed; take the bit away inside a session"
	case p.up.typ == TypeFile && p.up.st.Size > maxFile:
		return "a file of more than 16 GiB is never committed; discard it"
	case p.host.typ == TypeOther && p.up.typ != typWhiteout:
		return "a device, pipe or socket of the host is never replaced; remove it by hand"
	}
	return ""
}

// escapes says why a link is not committed. Leading ".." are counted; one after
// a name is refused, because that name may be a link itself and lead anywhere.
func (v *view) escapes(raw, target string) string {
	const remedy = "; use a relative link that stays inside"
	if strings.HasPrefix(target, "/") {
		return "a link to an absolute path is never committed" + remedy
	}
	if len(target) > maxPath || !plain(target) {
		return "a link whose target is not plain text is never committed" + remedy
	}
	depth, named := strings.Count(raw, "/"), false
	for part := range strings.SplitSeq(target, "/") {
		switch part {
		case "", ".":
		case "..":
			if depth--; named || depth < 0 {
				return "a link that leads out of the directory is never committed" + remedy
			}
		default:
			named = true
		}
	}
	how := unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS}
	dir, _ := split(raw)
	fd, err := unix.Openat2(v.host.fd, path.Join(".", dir, target), &how)
	if err == nil {
		_ = unix.Close(fd)
	}
	if errors.Is(err, unix.EXDEV) {
		return "a link that leads out of the directory through another link is never committed" + remedy
	}
	return ""
}

// content compares a file of the session with what the host has.
func (v *view) content(ctx context.Context, raw string, p pair, c *Change) (differs bool, err error) {
	c.Size = p.up.st.Size
	if p.up.st.Nlink > 1 && c.Refused == "" {
		if v.names == nil {
			v.names = map[uint64]int{}
			if err := v.countNames(ctx, ""); err != nil {
				return false, err
			}
		}
		if int(p.up.st.Nlink) > v.names[p.up.st.Ino] {
			c.Refused = "a file with another name outside of the session's directory is never committed; copy it inside a session"
		}
	}
	if c.Refused != "" {
		return true, nil
	}
	if c.SHA256, err = v.src.digest(ctx, raw); err != nil {
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		c.Refused = "its content cannot be read, so it is not committed: " + reason(err)
		return true, nil
	}
	if p.host.typ != TypeFile || p.host.st.Size != p.up.st.Size {
		return true, nil
	}
	old, err := v.host.digest(ctx, raw)
	if err != nil || old != c.SHA256 {
		return true, ctx.Err()
	}
	c.Kind = KindMode
	return c.Mode != c.OldMode, nil
}

// circumstances adds what protects a Change, what it conflicts with, and what
// would be lost by it.
func (v *view) circumstances(ctx context.Context, raw string, p pair, c *Change) error {
	g := v.set.guard
	if c.Protected = g.match(v.under, raw, c.Type); c.Protected == "" && c.Kind == KindReplaced {
		c.Protected = g.match(v.under, raw, c.OldType)
	}
	if c.Protected == "" && c.Type != TypeDir && v.repository(raw) {
		c.Protected = "config beside HEAD: git takes the directory for a repository"
	}
	c.Conflict = v.conflict(ctx, raw, p)
	c.Host = v.fingerprint(p.host)
	if p.host.typ == TypeDir && (c.Kind == KindDeleted || c.Kind == KindReplaced) {
		l := loss{view: v, began: v.set.meta.Started.UnixNano(), hash: sha256.New()}
		if err := l.dir(ctx, raw); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			c.Refused = "what is in the directory cannot be told, so it is not removed: " + reason(err)
		}
		c.Lost, c.Host = l.files, c.Host+"-"+hex.EncodeToString(l.hash.Sum(nil)[:16])
		if c.Protected == "" {
			c.Protected = l.protected
		}
		if c.Conflict == "" && l.newest > l.began {
			c.Conflict = "something in the host's directory changed after the session began; look at it, then confirm or discard"
		}
	}
	if c.Kind == KindModified && path.Base(raw) == "package.json" {
		c.Note = v.scripts(raw)
	}
	if p.up.typ == TypeDir && p.up.st.Mode&unix.S_ISUID != 0 {
		c.Note = "its set-user-id bit is not carried over"
	}
	return nil
}

// repository tells that git would read this file as a repository's settings.
func (v *view) repository(raw string) bool {
	dir, name := split(raw)
	if dir == "" || fold(name) != "config" {
		return false
	}
	return lookOrBad(v.src, dir+"/HEAD", v.base == nil).typ == TypeFile || lookOrBad(v.host, dir+"/HEAD", false).typ == TypeFile
}

// loss is what goes with a directory of the host.
type loss struct {
	*view
	files     int
	newest    int64 // latest change, nanoseconds
	began     int64
	protected string
	linked    []uint64 // files with several names
	hash      hash.Hash
}

func (l *loss) dir(ctx context.Context, dir string) error {
	names, err := l.host.names(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		raw := join(dir, name)
		n, err := l.host.look(raw, false)
		if err != nil {
			return err
		}
		if n.bad != "" {
			return errors.New(n.bad)
		}
		l.newest = max(l.newest, l.touched(n))
		if n.typ == TypeFile && n.st.Nlink > 1 {
			l.linked = append(l.linked, n.st.Ino)
		}
		if l.protected == "" {
			l.protected = l.set.guard.match(l.under, raw, n.typ)
		}
		_, _ = fmt.Fprintf(l.hash, "%q %s\n", name, l.fingerprint(n))
		if n.typ != TypeDir {
			l.files++
			continue
		}
		if err := l.dir(ctx, raw); err != nil {
			return err
		}
	}
	return nil
}

// touched tells when an entry of the host was last changed, in nanoseconds.
func (v *view) touched(n node) int64 {
	if n.typ == TypeFile && v.linked[n.st.Ino] {
		return n.st.Mtim.Nano()
	}
	return n.st.Ctim.Nano()
}

// fingerprint identifies a state of an entry of the host, "" for none. That of
// a directory says nothing of its entries, that of a file with several names
// nothing of their number.
func (v *view) fingerprint(n node) string {
	if n.typ == "" {
		return ""
	}
	f := []int64{int64(n.st.Dev), int64(n.st.Ino), int64(n.st.Mode), int64(n.st.Uid), int64(n.st.Gid)}
	if n.typ != TypeDir {
		f = append(f, n.st.Size, n.st.Mtim.Nano())
		if n.st.Nlink == 1 && !v.linked[n.st.Ino] {
			f = append(f, n.st.Ctim.Nano())
		}
	}
	h := sha256.New()
	_ = binary.Write(h, binary.LittleEndian, f)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// conflict says how the host moved on since the session began.
func (v *view) conflict(ctx context.Context, raw string, p pair) string {
	const (
		changed  = "the host's file changed after the session began; compare both, then confirm or discard"
		removed  = "the host's file was removed after the session began; confirm to bring it back, or discard"
		appeared = "something of this name appeared on the host after the session began; compare both, then confirm or discard"
	)
	began := v.set.meta.Started.UnixNano()
	if v.base == nil {
		// A file that the host removed meanwhile looks like one that was added:
		// the mark of its origin stays with a file that is only renamed.
		if p.host.typ != "" && p.host.typ != TypeDir && v.touched(p.host) > began {
			return changed
		}
		return ""
	}
	switch b := p.base; {
	case b == nil && p.host.typ == "":
	case b == nil:
		return appeared
	case p.host.typ == "":
		return removed
	case b.matches(p.host):
	case b.Type == TypeFile && p.host.typ == TypeFile && b.SHA256 != "" && b.Mode&0o7777 == p.host.st.Mode&0o7777:
		if now, err := v.host.digest(ctx, raw); err != nil || now != b.SHA256 {
			return changed
		}
	default:
		return changed
	}
	return ""
}

// scripts says whether the commands in a package.json changed.
func (v *view) scripts(raw string) string {
	read := func(t tree) string {
		f, _, err := t.file(raw)
		if err != nil {
			return ""
		}
		defer f.Close()
		var doc struct {
			Scripts json.RawMessage `json:"scripts"`
		}
		data, err := io.ReadAll(io.LimitReader(f, 1<<20))
		if err != nil || json.Unmarshal(data, &doc) != nil {
			return ""
		}
		var compact bytes.Buffer
		if json.Compact(&compact, doc.Scripts) != nil {
			return ""
		}
		return compact.String()
	}
	if read(v.host) != read(v.src) {
		return "its scripts changed: a package manager runs some of them by itself"
	}
	return ""
}
