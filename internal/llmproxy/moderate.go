package llmproxy

import (
	"sallyport/internal/fault"
	"sallyport/internal/llmproxy/wire"
)

// Text of a stream is moderated every moderateEvery bytes, with what stood
// before it, moderateTail bytes in all. Its last words are judged when they have
// been passed on: they can only be written down and told.
const (
	moderateEvery = 512
	moderateTail  = 4 << 10
)

// spoken is the text of a stream that is being moderated.
type spoken struct {
	x     *exchange
	text  []byte // its end
	fresh int    // bytes that nobody judged yet
}

// add takes a piece; a reason ends the stream.
func (s *spoken) add(piece string) (*wire.Reason, error) {
	if s.x.p.cfg.ModerateOutput == nil {
		return nil, nil //nolint:nilnil // nothing stands against it
	}
	s.text = append(s.text, piece...)
	if over := len(s.text) - moderateTail; over > 0 {
		s.text = append(s.text[:0], s.text[over:]...)
	}
	if s.fresh += len(piece); s.fresh < moderateEvery {
		return nil, nil //nolint:nilnil // not yet
	}
	return s.judge()
}

// judge moderates what was not judged yet.
func (s *spoken) judge() (*wire.Reason, error) {
	if s.fresh == 0 {
		return nil, nil //nolint:nilnil // nothing new
	}
	s.fresh = 0
	return s.x.moderateOutput([]string{string(s.text)})
}

// moderateOutput judges texts of a reply; nil means that they may pass.
func (x *exchange) moderateOutput(texts []string) (*wire.Reason, error) {
	if x.p.cfg.ModerateOutput == nil || len(texts) == 0 {
		return nil, nil //nolint:nilnil // nothing stands against it
	}
	v, err := x.p.cfg.ModerateOutput(x.ctx, x.who, texts)
	if err != nil {
		return nil, fault.Wrap("llmproxy.moderate", fault.Unavailable, err)
	}
	return x.output(v), nil
}
