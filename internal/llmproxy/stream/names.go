package stream

import "sallyport/internal/llmproxy/wire"

// Client is wire's: it decides the form of an answer.
type Client = wire.Client

// Reason is wire's: why a stream ends.
type Reason = wire.Reason
