package stores

import "go.temporal.io/server/common/persistence"

// The module compiles with several versions of Temporal, and some fields exist only in newer ones. Go selects the field at the
// shallowest depth. So a field of the embedded request comes first, and older versions without it have the zero of the one below.

// conditionRangeID returns the range id that the owner of the queue must hold, from version 1.32 of Temporal on; 0 for none.
func conditionRangeID(request *persistence.CompleteTasksLessThanRequest) int64 {
	type inOlderVersions struct{ ConditionRangeID int64 }
	type below struct{ inOlderVersions }
	return struct {
		*persistence.CompleteTasksLessThanRequest
		below
	}{CompleteTasksLessThanRequest: request}.ConditionRangeID
}
