package alert

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"sallyport/internal/fault"
	"sallyport/internal/record"
)

// Doer performs requests: an http.Client that connects only where app says.
type Doer interface {
	Do(*http.Request) (*http.Response, error)
}

// Webhook posts an alert as JSON, signed as Standard Webhooks describes: header
// webhook-signature holds "v1," and the base64 of HMAC-SHA256 over
// "webhook-id.webhook-timestamp.body".
type Webhook struct {
	name, url string
	key       []byte
	do        Doer
}

// minKey is the least length of a signing key, in bytes.
const minKey = 16

// NewWebhook makes a webhook. secret is the text "whsec_" and base64, or any
// other text of at least 16 bytes, which is the key itself.
func NewWebhook(name, rawURL, secret string, do Doer) (*Webhook, error) {
	const op = "alert.webhook"
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fault.New(op, fault.Config, "the webhook of alert sink %q is no web address; write https://HOST/PATH", name)
	}
	if u.User != nil {
		return nil, fault.New(op, fault.Config, "the webhook of alert sink %q holds a password in its address; messages are signed instead, so take it out", name)
	}
	key := []byte(secret)
	if b, ok := strings.CutPrefix(secret, "whsec_"); ok {
		if key, err = base64.StdEncoding.DecodeString(b); err != nil {
			return nil, fault.New(op, fault.Config, "the secret of alert sink %q is no base64 behind whsec_", name)
		}
	}
	if len(key) < minKey {
		return nil, fault.New(op, fault.Config, "the secret of alert sink %q is too short to sign with; give at least %d bytes, such as `openssl rand -base64 32` makes", name, minKey)
	}
	return &Webhook{name: name, url: rawURL, key: key, do: do}, nil
}

// Name implements Sink.
func (w *Webhook) Name() string { return w.name }

// Send implements Sink.
func (w *Webhook) Send(ctx context.Context, a record.Alert, d Detail) error {
	const op = "alert.webhook"
	body, err := encodeMessage(a, d)
	if err != nil {
		return fault.Wrap(op, fault.Internal, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url, bytes.NewReader(body))
	if err != nil {
		return fault.New(op, fault.Config, "the webhook of alert sink %q is no web address", w.name)
	}
	when := strconv.FormatInt(d.Time.Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "sallyport")
	// Lower-case on the wire does not matter; these are their canonical forms.
	req.Header.Set("Webhook-Id", d.Message)
	req.Header.Set("Webhook-Timestamp", when)
	req.Header.Set("Webhook-Signature", "v1,"+Sign(w.key, d.Message, when, body))
	resp, err := w.do.Do(req)
	if err != nil {
		if fault.Is(err, fault.Denied) {
			return err
		}
		return &fault.Error{Op: op, Kind: fault.Unavailable, Public: "the webhook of alert sink " + w.name + " cannot be reached; check its address under alerts.sinks and whether it runs", Err: err}
	}
	defer resp.Body.Close() //nolint:errcheck // read only
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	if resp.StatusCode/100 == 2 {
		return nil
	}
	kind := fault.Unavailable
	switch s := resp.StatusCode; {
	case s == http.StatusRequestTimeout, s == http.StatusConflict, s == http.StatusTooEarly, s == http.StatusTooManyRequests:
	case s/100 == 3, s/100 == 4: // it will answer the same next time
		kind = fault.Config
	}
	return fault.New(op, kind, "the webhook of alert sink %s answered %d", w.name, resp.StatusCode)
}

// Sign gives the signature of a message: base64 of HMAC-SHA256 over
// "id.timestamp.body".
func Sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(id + "." + timestamp + "."))
	mac.Write(body)
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
