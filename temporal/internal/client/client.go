package client

import "context"

// Client calls the workers of one `strongroom serve`.
type Client struct {
	options Options
}

// Dial returns the process's client of a socket, after the handshake with worker 0.
func Dial(_ context.Context, options Options) (*Client, error) {
	return &Client{options: options}, nil
}

// Do sends a call and returns its answer. The error is an *Error.
func (c *Client) Do(_ context.Context, call Call) ([]byte, error) {
	return nil, &Error{Kinds: []string{KindUnavailable}, Message: "no connection for " + call.Operation, Retryable: true}
}

// Close gives the client up. The connections end with the last user of the socket.
func (c *Client) Close() {}

// HistoryShards returns the cell's number of history shards, which equals numHistoryShards.
func (c *Client) HistoryShards() int32 { return c.options.HistoryShards }
