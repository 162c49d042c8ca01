package failure

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
)

// The first run of a chain is passed on by every version of Temporal that stores it.
func TestFirstExecutionRunID(t *testing.T) {
	failed, state := &persistence.CurrentWorkflowConditionFailedError{}, &persistencespb.WorkflowExecutionState{}
	target := reflect.ValueOf(failed).Elem().FieldByName("FirstExecutionRunID")
	if source := reflect.ValueOf(state).Elem().FieldByName("FirstExecutionRunId"); source.IsValid() {
		source.SetString("first")
	}
	copyFirstExecutionRunID(failed, state)
	if target.IsValid() {
		require.Equal(t, "first", target.String())
	}
}
