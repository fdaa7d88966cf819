package vault

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/google/go-cmp/cmp"

	"sallyport/internal/fault"
	"sallyport/internal/label"
	"sallyport/internal/principal"
)

func identity(t testing.TB) (Identity, Recipient) {
	t.Helper()
	id, text, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseRecipient(text)
	if err != nil {
		t.Fatal(err)
	}
	return id, to
}

func TestExport(t *testing.T) {
	m := newMemory()
	var use []Use
	var deny error
	v := create(t, m, NewRoot(), func(_ context.Context, r Request) error {
		use = append(use, r.Use)
		if r.Item.Label == high {
			return deny
		}
		return nil
	})
	here := label.Scheme{Compartments: []string{"payroll", "fin"}}
	there := label.Scheme{Compartments: []string{"x", "fin", "payroll"}} // other numbers
	put(t, v, "a", label.New(label.Confidential, label.Signed, 0b01), []byte("salaries"))
	put(t, v, "b", high, []byte("both"))
	id, to := identity(t)
	use = nil
	var sealed bytes.Buffer
	if err := v.Export(t.Context(), anybody, &sealed, here, []string{"a", "b"}, to); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Use{Export, Export}, use); diff != "" {
		t.Error(diff)
	}
	for _, secret := range []string{"salaries", "both", "payroll", instance} {
		if bytes.Contains(sealed.Bytes(), []byte(secret)) {
			t.Errorf("%q shows", secret)
		}
	}
	from, items, err := OpenExport(bytes.NewReader(sealed.Bytes()), there, id)
	if err != nil || from != instance {
		t.Fatal(from, err)
	}
	want := []Exported{
		{"a", label.New(label.Confidential, label.Foreign, 0b100), 1, []byte("salaries")},
		{"b", label.New(label.Secret, label.Foreign, 0b110), 1, []byte("both")},
	}
	if diff := cmp.Diff(want, items); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	open := func(b []byte, s label.Scheme, id Identity) error {
		_, items, err := OpenExport(bytes.NewReader(b), s, id)
		if err != nil && items != nil {
			t.Error("items beside an error")
		}
		return err
	}
	wantKind(t, "a scheme without payroll", open(sealed.Bytes(), label.Scheme{Compartments: []string{"fin"}}, id), fault.Config)
	stranger, _ := identity(t)
	wantKind(t, "a stranger", open(sealed.Bytes(), there, stranger), fault.Denied)
	wantKind(t, "nobody", open(sealed.Bytes(), there, Identity{}), fault.Usage)
	for n := 0; n < sealed.Len(); n += 37 {
		if open(sealed.Bytes()[:n], there, id) == nil || open(flip(sealed.Bytes(), n, 1), there, id) == nil {
			t.Errorf("cut or flipped at %d: accepted", n)
		}
	}
	deny = errors.New("not this one")
	var nothing bytes.Buffer
	if err := v.Export(t.Context(), anybody, &nothing, here, []string{"a", "b"}, to); !errors.Is(err, deny) || nothing.Len() != 0 {
		t.Errorf("one item refused: %d bytes, %v", nothing.Len(), err)
	}
	wantKind(t, "to nobody", v.Export(t.Context(), anybody, &nothing, here, []string{"a"}), fault.Usage)
	wantKind(t, "to an empty recipient", v.Export(t.Context(), anybody, &nothing, here, []string{"a"}, Recipient{}), fault.Usage)
}

func TestRecipients(t *testing.T) {
	classic, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	to, err := ParseRecipient(classic.Recipient().String())
	if err != nil {
		t.Fatal(err)
	}
	id, err := ParseIdentity([]byte("# created\n\n" + classic.String() + "\n"))
	if err != nil || id.Text() != classic.String() {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := sealTo(&b, []byte("x"), []Recipient{to}); err != nil {
		t.Fatal(err)
	}
	if got, err := openFrom(&b, id, 1); err != nil || string(got) != "x" {
		t.Fatal(got, err)
	}
	hybrid, pq := identity(t)
	if again, err := ParseIdentity([]byte(hybrid.Text())); err != nil || again.Text() != hybrid.Text() {
		t.Error(err)
	}
	wantKind(t, "mixed forms", sealTo(&b, nil, []Recipient{to, pq}), fault.Usage)
	b.Reset()
	if err := sealTo(&b, []byte("xx"), []Recipient{to}); err != nil {
		t.Fatal(err)
	}
	_, err = openFrom(&b, id, 1)
	wantKind(t, "more than the limit", err, fault.Usage)
	for _, s := range []string{"", "age1", "age1pq1x", classic.String(), "ssh-ed25519 AAAA"} {
		_, err := ParseRecipient(s)
		wantKind(t, s, err, fault.Usage)
	}
	for _, s := range []string{"", "x", classic.Recipient().String(), classic.String() + "\n" + classic.String(), strings.ToLower(classic.String())} {
		_, err := ParseIdentity([]byte(s))
		wantKind(t, s, err, fault.Usage)
	}
}

func TestBackupRestore(t *testing.T) {
	v, m, root := made(t)
	put(t, v, "a", low, plainText)
	id, to := identity(t)
	var sealed bytes.Buffer
	wantKind(t, "backing up another key", v.Backup(t.Context(), &sealed, NewRoot(), to), fault.Denied)
	if sealed.Len() != 0 {
		t.Error("it was written all the same")
	}
	if err := v.Backup(t.Context(), &sealed, root, to); err != nil {
		t.Fatal(err)
	}
	v.Close()
	next, c := NewRoot(), Config{Book: m, Instance: instance, Check: yes}
	restore := func(c Config, b []byte, id Identity) error {
		w, err := Restore(t.Context(), c, bytes.NewReader(b), id, next)
		if err == nil {
			w.Close()
		}
		return err
	}
	stranger, _ := identity(t)
	wantKind(t, "a stranger", restore(c, sealed.Bytes(), stranger), fault.Denied)
	err := restore(Config{Book: m, Instance: "inst-2", Check: yes}, sealed.Bytes(), id)
	wantKind(t, "another instance", err, fault.Denied)
	if !strings.Contains(fault.PublicText(err), instance) {
		t.Errorf("the remedy needs the right instance: %v", err)
	}
	wantKind(t, "no rows", restore(Config{Book: newMemory(), Instance: instance, Check: yes}, sealed.Bytes(), id), fault.NotFound)
	planted := func(fields ...string) []byte {
		var plain []byte
		for _, f := range fields {
			plain = appendField(plain, f)
		}
		var b bytes.Buffer
		if err := sealTo(&b, plain, []Recipient{to}); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	key := strings.Repeat("k", keySize)
	wantKind(t, "a planted key", restore(c, planted(backupHead, instance, key), id), fault.Denied)
	wantKind(t, "a short key", restore(c, planted(backupHead, instance, key[1:]), id), fault.Corrupt)
	wantKind(t, "more fields", restore(c, planted(backupHead, instance, key, ""), id), fault.Corrupt)
	wantKind(t, "fewer fields", restore(c, planted(backupHead, instance), id), fault.Corrupt)
	wantKind(t, "an export", restore(c, planted(exportHead, instance, key), id), fault.Corrupt)

	w, err := Restore(t.Context(), c, &sealed, id, next)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if got, _, err := w.Get(t.Context(), anybody, "a", 0); err != nil || !bytes.Equal(got, plainText) {
		t.Errorf("%q, %v", got, err)
	}
	if st, err := w.State(t.Context()); err != nil || st.Generation != 2 || st.Epoch != 2 {
		t.Errorf("nothing was renewed: %v, %v", st, err)
	}
	c.Root = root
	_, err = Open(t.Context(), c)
	wantKind(t, "the backed-up key afterwards", err, fault.Denied)
	c.Root = next
	if w, err := Open(t.Context(), c); err != nil {
		t.Error(err)
	} else {
		w.Close()
	}
}

func exportSeed(items ...Exported) []byte {
	b := appendField(appendField(nil, exportHead), instance)
	b = appendUint64(b, uint64(len(items)))
	for _, it := range items {
		b = appendUint64(appendField(appendField(b, it.ID), it.Label.String()), it.Version)
		b = appendField(b, it.Data)
	}
	return b
}

func TestParseExport(t *testing.T) {
	it := Exported{"a", low, 1, []byte("x")}
	good := exportSeed(it, Exported{"b", low, 2, nil})
	if _, items, err := parseExport(good, label.Scheme{}); err != nil || len(items) != 2 {
		t.Fatal(items, err)
	}
	huge := exportSeed(it)
	binary.BigEndian.PutUint64(huge[4+len(exportHead)+4+len(instance)+4:], 1<<62)
	for name, b := range map[string][]byte{
		"the same id twice": exportSeed(it, it), "version 0": exportSeed(Exported{"a", low, 0, nil}), "no id": exportSeed(Exported{"", low, 1, nil}),
		"more items than there are": huge, "left over": append(slices.Clip(good), 0), "empty": nil,
	} {
		_, items, err := parseExport(b, label.Scheme{})
		wantKind(t, name, err, fault.Corrupt)
		if items != nil {
			t.Errorf("%s: items", name)
		}
	}
	for n := range good {
		if _, items, err := parseExport(good[:n], label.Scheme{}); err == nil || items != nil {
			t.Errorf("cut at %d: accepted", n)
		}
	}
}

// FuzzParseExport: what parses is what its items encode to, whoever made it.
func FuzzParseExport(f *testing.F) {
	f.Add(exportSeed(Exported{"a", low, 1, []byte("x")}, Exported{"b", high, 2, nil}))
	f.Add(exportSeed())
	f.Add([]byte(exportHead))
	f.Fuzz(func(t *testing.T, b []byte) {
		from, items, err := parseExport(b, label.Scheme{})
		if err != nil {
			if from != "" || items != nil {
				t.Fatal("items beside an error")
			}
			return
		}
		for _, it := range items {
			if it.Label.Integrity != label.Foreign || !it.Label.Valid() || !validID(it.ID) || len(it.Data) > MaxBody {
				t.Fatal(it)
			}
		}
		again, twice, err := parseExport(appendExported(from, items), label.Scheme{})
		if err != nil || again != from || cmp.Diff(items, twice) != "" {
			t.Fatal(err)
		}
	})
}

func appendExported(from string, items []Exported) []byte {
	b := exportSeed(items...)
	head := len(exportHead) + 4
	return append(appendField(b[:head:head], from), b[head+4+len(instance):]...)
}

// FuzzOpen feeds envelopes and what they are bound to: only the true one opens.
func FuzzOpen(f *testing.F) {
	v, m, _ := made(f)
	r := put(f, v, "a", low, plainText)
	it := m.items["a"]
	f.Add(it.Key, it.Body, "a", uint8(low.Level), uint8(low.Integrity), uint64(low.Compartments), uint64(1), uint32(1))
	f.Add([]byte{format}, []byte{format}, "", uint8(9), uint8(9), uint64(0), uint64(0), uint32(0))
	f.Fuzz(func(t *testing.T, key, body []byte, id string, level, integrity uint8, comps, version uint64, epoch uint32) {
		row := Item{SealedRef: Ref{ID: id, Label: label.Label{Compartments: label.Compartments(comps), Level: label.Level(level), Integrity: label.Integrity(integrity)}, Version: version}, Epoch: epoch, Key: key, Body: body}
		var data []byte
		err := v.broker.release(t.Context(), Request{Who: principal.Principal{}}, row, func(k *recordKey) (err error) {
			data, err = openBody(k, instance, row.SealedRef, row.Body)
			return err
		})
		true1 := row.SealedRef == r && bytes.Equal(key, it.Key) && bytes.Equal(body, it.Body) && epoch == 1
		if true1 != (err == nil) || true1 != (data != nil) {
			t.Fatalf("%v: %q, %v", row.SealedRef, data, err)
		}
	})
}

// FuzzParseSealed: a sealed root key is written in one way only.
func FuzzParseSealed(f *testing.F) {
	sealed, err := SealRoot(NewRoot(), []byte("correct horse battery"), Floor)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(bytes.TrimSpace(sealed))
	f.Add([]byte(sealedText))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, head, salt, box, err := parseSealed(b)
		if err != nil {
			return
		}
		text := sealedText + c.String() + " " + rawURL(salt) + " "
		if head != text || strings.TrimSuffix(string(b), "\n") != text+rawURL(box) {
			t.Fatalf("%q is also written %q", b, text+rawURL(box))
		}
	})
}
