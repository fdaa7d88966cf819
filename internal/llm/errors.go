package llm

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"

	"sallyport/internal/fault"
)

// ProviderError tells what a provider answered, or how its reply broke. It
// never holds the key.
type ProviderError struct {
	Provider  string
	Status    int    // HTTP status, 0 if no answer came
	RequestID string // may be empty
	Type      string // the provider's own error type or code, may be empty
	Message   string // the provider's words or our cause, at most 300 bytes
	Attempts  int
}

// Error renders provider, status, request id and cause in one line.
func (e *ProviderError) Error() string {
	var b strings.Builder
	b.WriteString(e.Provider)
	if e.Status != 0 {
		fmt.Fprintf(&b, " status %d", e.Status)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " request %s", e.RequestID)
	}
	if e.Attempts > 1 {
		fmt.Fprintf(&b, " after %d attempts", e.Attempts)
	}
	if e.Type != "" {
		b.WriteString(": " + e.Type)
	}
	if e.Message != "" {
		b.WriteString(": " + e.Message)
	}
	return b.String()
}

// scrubbedError shows a cleaned text while errors.Is still sees the original.
type scrubbedError struct {
	text string
	orig error
}

func (e *scrubbedError) Error() string        { return e.text }
func (e *scrubbedError) Is(target error) bool { return errors.Is(e.orig, target) }

func (a *attempt) scrubbed(err error) error {
	return &scrubbedError{a.clean(err.Error(), 300), err}
}

// transportCause drops the method and URL that net/http puts before its error.
func transportCause(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// readCause keeps our own causes and scrubs everything else.
func (a *attempt) readCause(err error) error {
	for _, own := range []error{errTotal, errFirstByte, errIdle, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, own) {
			return err
		}
	}
	return a.scrubbed(fmt.Errorf("the reply broke off: %w", err))
}

// decodeCause classes what a decoder said.
func (a *attempt) decodeCause(err error) error {
	if s, ok := errors.AsType[*StreamError](err); ok {
		a.problem = s.Problem
		a.retry = s.Problem.Retry
		a.free = !a.build.delivered() && a.build.Reported() == Usage{}
	}
	return a.scrubbed(err)
}

// refused reads an answer that is not 200.
func (a *attempt) refused(resp *http.Response, body io.Reader) error {
	a.free = true
	// 64 KiB is far more than any provider's error; the rest is not read.
	data, err := io.ReadAll(io.LimitReader(body, 64<<10))
	if err != nil && len(data) == 0 {
		data = nil
	}
	a.problem = a.codec.Problem(data)
	s := resp.StatusCode
	a.retry = s == http.StatusRequestTimeout || s == http.StatusTooManyRequests ||
		s >= 500 && s != http.StatusNotImplemented && s != http.StatusHTTPVersionNotSupported ||
		s >= 400 && a.problem.Retry
	if a.problem.Quota || strings.EqualFold(resp.Header.Get("X-Should-Retry"), "false") {
		a.retry = false
	}
	a.retryAfter = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	if s >= 300 && s < 400 {
		return errors.New("a redirect is not followed")
	}
	if a.problem.Empty() {
		return fmt.Errorf("an answer of %d bytes without a readable error", len(data))
	}
	return errors.New("refused")
}

// retryAfter reads seconds or an HTTP date; anything else, and the past, is 0.
func retryAfter(v string, now time.Time) time.Duration {
	v = strings.TrimSpace(v)
	if v == "" {
		return 0
	}
	if s, err := strconv.ParseFloat(v, 64); err == nil {
		if !(s > 0) {
			return 0
		}
		return time.Duration(min(s, 1e8) * float64(time.Second))
	}
	if t, err := http.ParseTime(v); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

func (a *attempt) findRequestID(h http.Header) {
	for _, name := range a.codec.RequestIDHeaders() {
		if v := h.Get(name); v != "" {
			a.requestID = a.clean(v, 100)
			return
		}
	}
}

// fail makes the error that leaves the package.
func (a *attempt) fail(ctx context.Context, err error, attempts int) error {
	if _, ok := errors.AsType[*fault.Error](err); ok {
		return err
	}
	kind, public := a.class(ctx, err)
	p := &ProviderError{Provider: a.ep.Provider, Status: a.status, RequestID: a.requestID, Attempts: attempts}
	p.Type = a.clean(first(a.problem.Type, a.problem.Code), 60)
	if p.Type != "" && a.problem.Code != "" && a.problem.Code != a.problem.Type {
		p.Type += " (" + a.clean(a.problem.Code, 60) + ")"
	}
	p.Message = a.clean(err.Error(), 300)
	if a.problem.Message != "" {
		p.Message = strconv.Quote(a.clean(a.problem.Message, 300))
	}
	out := error(p)
	if cause := callerCause(ctx, err); cause != nil {
		out = fmt.Errorf("%w: %w", p, cause)
	}
	return &fault.Error{Op: "llm.complete", Kind: kind, Public: public, Err: out}
}

// callerCause keeps errors.Is(err, context.Canceled) true for callers.
func callerCause(ctx context.Context, err error) error {
	for _, c := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, c) {
			return c
		}
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return context.Canceled
	}
	return nil
}

// class gives the kind and the sentence for outsiders.
func (a *attempt) class(ctx context.Context, err error) (fault.Kind, string) {
	name := a.ep.Provider
	if a.requestID != "" {
		name += " (request " + a.requestID + ")"
	}
	if errors.Is(context.Cause(ctx), context.Canceled) {
		return fault.Canceled, fmt.Sprintf("the call to %s was cancelled", name)
	}
	switch {
	case errors.Is(err, errTotal), errors.Is(err, context.DeadlineExceeded), errors.Is(context.Cause(ctx), errTotal):
		return fault.Unavailable, fmt.Sprintf("%s did not finish within the allowed time; try again or raise the total timeout", name)
	case errors.Is(err, errFirstByte):
		return fault.Unavailable, fmt.Sprintf("%s sent nothing for %v; try again or raise the first-byte timeout", name, a.opt.FirstByte)
	case errors.Is(err, errIdle):
		return fault.Unavailable, fmt.Sprintf("%s stopped in the middle of a reply for %v; try again or raise the idle timeout", name, a.opt.Idle)
	case a.problem.Quota || a.status == http.StatusPaymentRequired:
		return fault.Budget, fmt.Sprintf("%s says that the account's money or quota is used up; check the account", name)
	case a.retryAfter > a.opt.RetryAfterMax:
		return fault.Unavailable, fmt.Sprintf("%s answered %d and asks to wait %v, longer than the %v allowed; try again later",
			name, a.status, a.retryAfter.Round(time.Second), a.opt.RetryAfterMax)
	}
	switch s := a.status; {
	case s == 0:
		return fault.Unavailable, fmt.Sprintf("%s could not be reached; check the address and the network", name)
	case s == http.StatusOK && a.problem.Empty():
		return fault.Unavailable, fmt.Sprintf("the reply of %s could not be used; nothing in it was acted on", name)
	case s == http.StatusOK:
		return fault.Unavailable, fmt.Sprintf("%s reported an error in the middle of a reply; try again later", name)
	case s == http.StatusUnauthorized || s == http.StatusForbidden:
		return fault.Config, fmt.Sprintf("%s answered %d: it did not accept the key; check %s", name, s, a.keyName())
	case s == http.StatusNotFound:
		return fault.Config, fmt.Sprintf("%s answered 404: check the model name %q and the base URL", name, a.req.Model)
	case s >= 300 && s < 400:
		return fault.Config, fmt.Sprintf("%s answered %d, a redirect, which is not followed; set the base URL to the final address", name, s)
	case a.retry || s >= 500:
		return fault.Unavailable, fmt.Sprintf("%s answered %d; try again later", name, s)
	default:
		return fault.Config, fmt.Sprintf("%s answered %d: it did not accept the request", name, s)
	}
}

func (a *attempt) keyName() string { return first(a.ep.KeyName, "the key of this endpoint") }

func (a *attempt) missingKey() error {
	if a.ep.KeyName == "" {
		return fault.New("llm.complete", fault.Config, "the model provider %s needs a key and none is configured", a.ep.Provider)
	}
	return fault.New("llm.complete", fault.Config,
		"the model provider %s needs a key: set %s in the environment or in .env", a.ep.Provider, a.ep.KeyName)
}

// clean makes a provider's text fit for an error: without any part of the key,
// without control characters, most bytes at most.
func (a *attempt) clean(s string, most int) string {
	s = scrub(s, a.key)
	s = strings.Map(func(c rune) rune {
		if unicode.IsPrint(c) {
			return c
		}
		return ' '
	}, strings.ToValidUTF8(s, "?"))
	return clip(strings.TrimSpace(s), most)
}

// keyPart is the length of the shortest part of a key that is hidden.
const keyPart = 8

// scrub hides every run of s that shares keyPart or more consecutive bytes
// with the key, in its plain, URL-escaped or base64 form. It works on the
// whole text before any clipping, so no part survives at a cut.
func scrub(s, key string) string {
	if key == "" {
		return s
	}
	forms := []string{
		key, url.QueryEscape(key), url.PathEscape(key),
		base64.StdEncoding.EncodeToString([]byte(key)), base64.URLEncoding.EncodeToString([]byte(key)),
	}
	hide := make([]bool, len(s))
	found := false
	for _, form := range forms {
		n := min(keyPart, len(form))
		parts := make(map[string]bool, len(form))
		for i := 0; i+n <= len(form); i++ {
			parts[strings.ToLower(form[i:i+n])] = true
		}
		for i := 0; i+n <= len(s); i++ {
			if parts[strings.ToLower(s[i:i+n])] {
				found = true
				for j := i; j < i+n; j++ {
					hide[j] = true
				}
			}
		}
	}
	if !found {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if !hide[i] {
			b.WriteByte(s[i])
		} else if i == 0 || !hide[i-1] {
			b.WriteString("[key]")
		}
	}
	return b.String()
}

// clip cuts s to at most that many bytes at a rune's start, showing that it did.
func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	s = s[:most]
	return strings.ToValidUTF8(s, "") + "…"
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
