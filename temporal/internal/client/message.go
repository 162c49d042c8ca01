package client

import (
	"context"
	"time"

	"github.com/tinylib/msgp/msgp"
	"go.temporal.io/server/common/headers"
)

// protocol is the version of PROTOCOL.md that this package implements.
const protocol = 1

// appendCall appends everything of a CALL message but the arguments, which follow it.
func appendCall(b []byte, operation string, timeout time.Duration, caller string) []byte {
	b = msgp.AppendArrayHeader(b, 4)
	b = msgp.AppendString(b, operation)
	b = msgp.AppendInt64(b, milliseconds(timeout))
	return msgp.AppendString(b, caller)
}

// milliseconds rounds up, because 0 means that there is no deadline.
func milliseconds(timeout time.Duration) int64 {
	return int64((timeout + time.Millisecond - 1) / time.Millisecond)
}

// callerOf returns Temporal's caller as "type/name/origin", or "" if the context has none.
func callerOf(ctx context.Context) string {
	info := headers.GetCallerInfo(ctx)
	if info == (headers.CallerInfo{}) {
		return ""
	}
	return info.CallerType + "/" + info.CallerName + "/" + info.CallOrigin
}
