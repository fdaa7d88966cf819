package credential

import (
	"regexp"
	"strings"
	"testing"

	"sallyport/internal/fault"
)

func TestNewSetRefuses(t *testing.T) {
	const other = "PLACEHOLDER-other"
	good := func() Binding {
		return Binding{Name: "one", Host: host, Value: newValue([]byte(token)), Placeholder: placeholder, Places: []Place{{Name: "X-Api-Key"}}}
	}
	second := func(edit func(*Binding)) []Binding {
		b := good()
		b.Name, b.Placeholder = "two", other
		edit(&b)
		return []Binding{good(), b}
	}
	first := func(edit func(*Binding)) []Binding {
		b := good()
		edit(&b)
		return []Binding{b}
	}
	place := func(p ...Place) []Binding { return first(func(b *Binding) { b.Places = p }) }
	value := func(v string) []Binding { return first(func(b *Binding) { b.Value = newValue([]byte(v)) }) }
	for name, c := range map[string]struct {
		bindings []Binding
		says     string
	}{
		"no name":             {first(func(b *Binding) { b.Name = "" }), "no name"},
		"wildcard":            {first(func(b *Binding) { b.Host = "*.example.com" }), "no exact host"},
		"url":                 {first(func(b *Binding) { b.Host = "https://example.com" }), "no exact host"},
		"with a port":         {first(func(b *Binding) { b.Host = "example.com:443" }), "no exact host"},
		"no host":             {first(func(b *Binding) { b.Host = "" }), "no exact host"},
		"odd address":         {first(func(b *Binding) { b.Host = "0x7f.1" }), "no exact host"},
		"number":              {first(func(b *Binding) { b.Host = "2130706433" }), "no exact host"},
		"zone":                {first(func(b *Binding) { b.Host = "fe80::1%eth0" }), "no exact host"},
		"umlaut":              {first(func(b *Binding) { b.Host = "b\u00fccher.example" }), "no exact host"},
		"plain http":          {first(func(b *Binding) { b.Port = 80 }), "TLS only"},
		"short":               {value("1234567"), "7 bytes"},
		"long":                {value(strings.Repeat("x", 64<<10+1)), "64 KiB"},
		"no value":            {first(func(b *Binding) { b.Value = Value{} }), "0 bytes"},
		"its placeholder":     {value("x" + placeholder + "y"), "holds a placeholder"},
		"in the placeholder":  {value(placeholder[10:30]), "holds a value"},
		"line end":            {value("abcdefgh\r\nX-Evil: 1"), "no header may hold"},
		"space":               {value("abcdefgh "), "no header may hold"},
		"no placeholder":      {first(func(b *Binding) { b.Placeholder = "" }), "no usable placeholder"},
		"odd placeholder":     {first(func(b *Binding) { b.Placeholder = "PLACEHOLDER with spaces" }), "no usable placeholder"},
		"no place":            {place(), "no place"},
		"no key":              {place(Place{In: Query}), "the key is missing"},
		"no header":           {place(Place{In: Header}), "no header's name"},
		"header line":         {place(Place{Name: "X: y"}), "no header's name"},
		"underscore":          {place(Place{Name: "X_Key"}), "no header's name"},
		"host header":         {place(Place{Name: "Host"}), "belongs to the connection"},
		"two braces":          {place(Place{Name: "X-Key", Template: "{}{}"}), "exactly once"},
		"no braces":           {place(Place{Name: "X-Key", Template: "Bearer"}), "exactly once"},
		"template of json":    {place(Place{In: JSON, Name: "/a", Template: "{}"}), "only headers"},
		"no pointer":          {place(Place{In: JSON, Name: "a.b"}), "no JSON pointer"},
		"user with a colon":   {place(Place{In: Basic, Name: "a:b"}), "no colon"},
		"unknown kind":        {place(Place{In: 9, Name: "a"}), "unknown"},
		"same place twice":    {place(Place{Name: "X-Key"}, Place{Name: "x-key"}), "both go into"},
		"same name":           {second(func(b *Binding) { b.Name = "one"; b.Host = "b.example" }), "bound twice"},
		"overlap":             {second(func(b *Binding) { b.Host = "API.example.com." }), "both go into"},
		"basic overlap":       {append(place(Place{In: Basic}), second(func(b *Binding) { b.Places = []Place{{Name: "authorization"}} })[1]), "both go into"},
		"query overlap":       {append(place(Place{In: Query, Name: "api-key"}), second(func(b *Binding) { b.Places = []Place{{In: Query, Name: "API_KEY"}} })[1]), "both go into"},
		"json overlap":        {append(place(Place{In: JSON, Name: "/a"}), second(func(b *Binding) { b.Places = []Place{{In: JSON, Name: "/A/b"}} })[1]), "both go into"},
		"other's placeholder": {second(func(b *Binding) { b.Host, b.Value = "b.example", newValue([]byte("12345678"+placeholder)) }), "holds a placeholder"},
		"same placeholder":    {second(func(b *Binding) { b.Host, b.Placeholder = "b.example", placeholder }), "found in each other"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := NewSet(c.bindings)
			refused(t, err, fault.Config, c.says, token)
			if s != nil {
				t.Error("a set came with the error")
			}
		})
	}
	for _, ok := range [][]Binding{
		nil, first(func(*Binding) {}), second(func(b *Binding) { b.Port = 8443 }), second(func(b *Binding) { b.Host = "::1" }),
		second(func(b *Binding) {
			b.Places = []Place{{Name: "X-Other"}, {In: JSON, Name: "/x-api-key"}, {In: Form, Name: "X-Api-Key"}}
		}),
	} {
		if _, err := NewSet(ok); err != nil {
			t.Errorf("%v: %v", ok, err)
		}
	}
}

func TestBound(t *testing.T) {
	s := lab(t)
	for _, c := range []struct {
		host string
		port uint16
		want bool
	}{
		{host, 443, true},
		{"API.EXAMPLE.COM.", 443, true},
		{host, 80, false},
		{host, 8443, false},
		{"login.example.com", 8443, true},
		{"login.example.com", 443, false},
		{"xapi.example.com", 443, false},
		{"a." + host, 443, false},
		{"", 443, false},
	} {
		if got := s.Bound(c.host, c.port); got != c.want {
			t.Errorf("Bound(%q, %d) = %t", c.host, c.port, got)
		}
	}
}

func TestNewPlaceholder(t *testing.T) {
	for shape, want := range map[string]string{
		"":                       `^sallyport[0-9a-f]{32}$`,
		"sk-ant-api03-{random}":  `^sk-ant-api03-sallyport[0-9a-f]{32}$`,
		"{random}-AA":            `^sallyport[0-9a-f]{32}-AA$`,
		"AIza":                   `^AIzasallyport[0-9a-f]{32}$`,
		"a b\"&\u00fc\n{random}": `^absallyport[0-9a-f]{32}$`,
	} {
		got := NewPlaceholder(shape)
		if !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("NewPlaceholder(%q) = %q", shape, got)
		}
		if NewPlaceholder(shape) == got {
			t.Errorf("%q repeats", got)
		}
		b := Binding{Name: "n", Host: host, Value: newValue([]byte(token)), Placeholder: got, Places: []Place{{Name: "X-Key"}}}
		if _, err := NewSet([]Binding{b}); err != nil {
			t.Error(err)
		}
	}
}
