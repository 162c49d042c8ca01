package client

import "strings"

// Kinds of errors that the client makes. `strongroom serve` answers with these and with the classes of the stores' errors.
const (
	KindTimeout           = "Timeout"
	KindUnavailable       = "Unavailable"
	KindResourceExhausted = "ResourceExhausted"
)

// Error is an answer other than a result: an error of a store, of the server or of the connection.
type Error struct {
	// Kinds are the names of the error's class and its base classes, most derived first.
	Kinds []string
	// Message never contains a value that a tenant wrote.
	Message string
	// MayHaveBeenCommitted is whether the operation may have changed something, although it failed.
	MayHaveBeenCommitted bool
	// Retryable is whether the same call can succeed later.
	Retryable bool
	// Fields are the attributes of the error, decoded from MessagePack.
	Fields map[string]any

	cause error
}

// Error returns the most derived kind and the message.
func (e *Error) Error() string {
	if len(e.Kinds) == 0 {
		return e.Message
	}
	return e.Kinds[0] + ": " + e.Message
}

// Is returns whether kind is among the error's kinds.
func (e *Error) IsKind(kind string) bool {
	for _, own := range e.Kinds {
		if own == kind {
			return true
		}
	}
	return false
}

// Unwrap returns what the context or the connection failed with, or nil.
func (e *Error) Unwrap() error { return e.cause }

// String returns all kinds with the message, for logs.
func (e *Error) String() string { return strings.Join(e.Kinds, " < ") + ": " + e.Message }
