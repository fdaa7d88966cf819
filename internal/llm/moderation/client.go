package moderation

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"sallyport/internal/fault"
	"sallyport/internal/llm"
	"sallyport/internal/scan/screen"
)

// Options tunes a Client; the zero value is the documented defaults.
type Options struct {
	Timeout  time.Duration // of one Check, retries included; default 10 s
	Piece    int           // bytes of a text in one input, longer ones are cut with an overlap; default 16 KiB, at least 1 KiB
	Batch    int           // inputs of one request, 1..256; default 32
	Total    int           // bytes of all texts of one Check; more is an error; default 4 MiB
	Attempts int           // of one request, 1..5; default 2
	Cache    int           // inputs whose result is remembered; default 4096, negative: none
}

// Bounds of an answer.
const (
	maxAnswer     = 4 << 20
	maxCategories = 128
	maxName       = 128
	overlap       = 256 // bytes that the pieces of a text share
	pause         = 200 * time.Millisecond
)

func (o Options) withDefaults() Options {
	o.Timeout = cmp.Or(max(o.Timeout, 0), 10*time.Second)
	o.Piece = max(cmp.Or(o.Piece, 16<<10), 1<<10)
	o.Batch = min(cmp.Or(max(o.Batch, 0), 32), 256)
	o.Total = cmp.Or(max(o.Total, 0), 4<<20)
	o.Attempts = min(cmp.Or(max(o.Attempts, 0), 2), 5)
	o.Cache = cmp.Or(o.Cache, 4096)
	return o
}

// Client asks a service. It is safe for concurrent use.
type Client struct {
	ep    llm.Endpoint
	doer  llm.Doer
	o     Options
	clear bool // the key would travel unencrypted
	cache *cache
}

var _ Moderator = (*Client)(nil)

// New makes a client of the service at the endpoint's base address, to which
// "/moderations" is added. An empty Model leaves the choice to the service. The
// doer must not follow redirects. It is an error (fault.Config) if the address
// is no plain http(s) URL or the key would travel unencrypted to another machine.
func New(ep llm.Endpoint, doer llm.Doer, o Options) (*Client, error) {
	ep.Provider = cmp.Or(ep.Provider, "moderation")
	ep.BaseURL = strings.TrimRight(cmp.Or(ep.BaseURL, "https://api.openai.com/v1"), "/")
	u, err := url.Parse(ep.BaseURL)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, fault.New("moderation.new", fault.Config,
			"the base URL of the moderation service %s must be http:// or https:// with a host, and without user, query or fragment", ep.Provider)
	}
	c := &Client{ep: ep, doer: doer, o: o.withDefaults()}
	c.clear = u.Scheme == "http" && !ep.KeyInClear && !loopback(u.Hostname())
	if _, err := c.key(); c.clear && err != nil {
		return nil, err
	}
	if c.o.Cache > 0 {
		c.cache = newCache(c.o.Cache)
	}
	return c, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// key gives the key, "" for none.
func (c *Client) key() (string, error) {
	key := ""
	if c.ep.Key != nil {
		key = c.ep.Key()
	}
	name := cmp.Or(c.ep.KeyName, "its variable")
	switch {
	case key == "" && !c.ep.KeyOptional:
		return "", fault.New("moderation.key", fault.Config, "the moderation service %s needs a key and there is none in %s; set it, or say that the service takes none", c.ep.Provider, name)
	case key != "" && c.clear:
		return "", fault.New("moderation.key", fault.Config, "the key of the moderation service %s would travel unencrypted; use https, or allow it explicitly for this endpoint", c.ep.Provider)
	case strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }):
		return "", fault.New("moderation.key", fault.Config, "the key in %s holds a space, a line break or a character that is not ASCII; set it without", name)
	}
	return key, nil
}

// Check judges texts together. What was judged before is not sent again.
func (c *Client) Check(ctx context.Context, texts []string) (Result, error) {
	total := 0
	var inputs []string
	for _, t := range texts {
		if total += len(t); total > c.o.Total {
			return Result{}, fault.New("moderation.check", fault.Budget, "there is more text than the %d bytes that are moderated at once; send less", c.o.Total)
		}
		inputs = append(inputs, pieces(t, c.o.Piece)...)
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.Timeout)
	defer cancel()
	var out Result
	var ask []string
	sums := map[[sha256.Size]byte]bool{}
	for _, in := range inputs {
		sum := sha256.Sum256([]byte(in))
		if r, ok := c.cache.get(sum); ok {
			out.join(r)
		} else if !sums[sum] {
			sums[sum] = true
			ask = append(ask, in)
		}
	}
	for len(ask) > 0 {
		n := min(len(ask), c.o.Batch)
		results, err := c.request(ctx, ask[:n])
		if err != nil {
			return Result{}, err
		}
		for i, r := range results {
			c.cache.put(sha256.Sum256([]byte(ask[i])), r)
			out.join(r)
		}
		ask = ask[n:]
	}
	return out, nil
}

// pieces cuts a text, between characters, so that each piece begins before the
// last one ends.
func pieces(text string, size int) []string {
	var out []string
	for len(text) > size {
		end, next := size, size-overlap
		for end > next && !utf8.RuneStart(text[end]) {
			end--
		}
		for next > 0 && !utf8.RuneStart(text[next]) {
			next--
		}
		out = append(out, text[:end])
		text = text[max(next, 1):]
	}
	if strings.TrimSpace(text) != "" {
		out = append(out, text)
	}
	return out
}

// request asks once, or again if the service is busy or does not answer.
func (c *Client) request(ctx context.Context, inputs []string) ([]Result, error) {
	for n := 1; ; n++ {
		results, again, err := c.attempt(ctx, inputs)
		if err == nil || !again || n >= c.o.Attempts {
			return results, err
		}
		t := time.NewTimer(pause << (n - 1))
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, err
		}
	}
}

func (c *Client) attempt(ctx context.Context, inputs []string) (out []Result, again bool, err error) {
	key, err := c.key()
	if err != nil {
		return nil, false, err
	}
	body, err := json.Marshal(struct {
		Model string   `json:"model,omitempty"`
		Input []string `json:"input"`
	}{c.ep.Model, inputs})
	if err != nil {
		return nil, false, fault.Wrap("moderation.check", fault.Internal, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.ep.BaseURL+"/moderations", bytes.NewReader(body))
	if err != nil {
		return nil, false, c.unavailable(key, err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "sallyport")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := c.doer.Do(req)
	if err != nil {
		return nil, fault.KindOf(err) != fault.Denied, c.unavailable(key, err)
	}
	defer resp.Body.Close() //nolint:errcheck // it was read to its end or given up
	if resp.StatusCode != http.StatusOK {
		busy := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500
		return nil, busy, c.unavailable(key, fmt.Errorf("status %d", resp.StatusCode))
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, true, c.unavailable(key, err)
	}
	if out, err = parse(answer, len(inputs)); err != nil {
		return nil, false, c.unavailable(key, err)
	}
	return out, false, nil
}

// unavailable says that the service did not judge. The cause keeps its kind for
// errors.Is and loses the key.
func (c *Client) unavailable(key string, cause error) error {
	text := cause.Error()
	if u, ok := errors.AsType[*url.Error](cause); ok {
		text = u.Err.Error()
	}
	if key != "" {
		text = strings.ReplaceAll(text, key, "[key]")
	}
	return &fault.Error{
		Op: "moderation.check", Kind: fault.Unavailable,
		Public: "the moderation service did not judge this text, and moderation.on_error says what that leads to; try again later or look at its address and key",
		Err:    &cleaned{text[:min(len(text), 300)], cause},
	}
}

// cleaned shows a text without the key while errors.Is still sees the cause.
type cleaned struct {
	text  string
	cause error
}

func (e *cleaned) Error() string        { return e.text }
func (e *cleaned) Is(target error) bool { return errors.Is(e.cause, target) }

// parse reads an answer, which must judge every input.
func parse(answer []byte, inputs int) ([]Result, error) {
	if len(answer) > maxAnswer {
		return nil, fmt.Errorf("the answer exceeds %d bytes", maxAnswer)
	}
	var a struct {
		Results []struct {
			Flagged    *bool              `json:"flagged"`
			Categories map[string]*bool   `json:"categories"`
			Scores     map[string]float64 `json:"category_scores"`
		} `json:"results"`
	}
	if json.Unmarshal(answer, &a) != nil {
		return nil, errors.New("the answer is no moderation result")
	}
	if len(a.Results) != inputs {
		return nil, fmt.Errorf("%d results for %d texts", len(a.Results), inputs)
	}
	out := make([]Result, inputs)
	for i, r := range a.Results {
		// null: the category does not concern this kind of input
		maps.DeleteFunc(r.Categories, func(_ string, on *bool) bool { return on == nil })
		if n := len(r.Categories) + len(r.Scores); r.Flagged == nil || n == 0 || n > maxCategories {
			return nil, errors.New("a result does not judge its text")
		}
		scores := make(map[string]float64, len(r.Scores))
		for name, score := range r.Scores {
			if score < 0 || score > 1 || len(name) > maxName {
				return nil, errors.New("a score is not between 0 and 1")
			}
			scores[name] = score
		}
		named := false
		for name, on := range r.Categories {
			if len(name) > maxName {
				return nil, errors.New("a category's name is too long")
			}
			if *on {
				scores[name], named = max(scores[name], screen.DefaultThreshold), true
			}
		}
		if *r.Flagged && !named {
			scores["flagged"] = 1
		}
		out[i] = Result{Flagged: *r.Flagged || named, Categories: scores}
	}
	return out, nil
}
