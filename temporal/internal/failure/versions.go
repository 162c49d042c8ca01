package failure

import (
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
)

// inOlderVersions has a field that 1.32 of Temporal added. Go selects the field at the shallowest depth: that of Temporal, if it
// exists, else this one.
type inOlderVersions struct{ FirstExecutionRunID, FirstExecutionRunId string }

type below struct{ inOlderVersions }

type conditionFailed struct {
	*persistence.CurrentWorkflowConditionFailedError
	below
}

type executionState struct {
	*persistencespb.WorkflowExecutionState
	below
}

// copyFirstExecutionRunID copies the first run of the current run's chain, if this version of Temporal stores it.
func copyFirstExecutionRunID(failed *persistence.CurrentWorkflowConditionFailedError, state *persistencespb.WorkflowExecutionState) {
	result := conditionFailed{CurrentWorkflowConditionFailedError: failed}
	result.FirstExecutionRunID = executionState{WorkflowExecutionState: state}.FirstExecutionRunId
}
