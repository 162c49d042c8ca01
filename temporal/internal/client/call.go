// Package client calls the stores of a cell over the Unix sockets of `strongroom serve`. PROTOCOL.md describes the bytes.
package client

import (
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/metrics"
)

// Call is one operation of a store.
type Call struct {
	// Operation is the store and the method, for example "executions.create_workflow_execution".
	Operation string
	// Shard is Temporal's number of the history shard, which chooses the worker. 0: no shard.
	Shard int32
	// QueueKey is the namespace id and the name of a task queue, which choose the worker. nil: no task queue.
	QueueKey []byte
	// Write is whether the operation changes something. A write is never sent twice.
	Write bool
	// Arguments is a MessagePack map of the method's parameters.
	Arguments []byte
}

// Options are the settings of a Client.
type Options struct {
	// Socket is the path on which worker 0 listens.
	Socket string
	// HistoryShards is numHistoryShards of Temporal's configuration. The cell must have the same number.
	HistoryShards int32
	// Temporal is the version of the Temporal server, for the handshake.
	Temporal string
	// Logger gets connections made, lost and refused. nil: no log.
	Logger log.Logger
	// Metrics gets the number, the latency and the errors of calls. nil: no metrics.
	Metrics metrics.Handler
}
