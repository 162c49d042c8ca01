package failure

import (
	"context"
	"errors"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	enumsspb "go.temporal.io/server/api/enums/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"

	"strongroom/temporal/internal/client"
)

var (
	read  = client.Call{Operation: "executions.get_workflow_execution", Shard: 7}
	write = client.Call{Operation: "executions.update_workflow_execution", Shard: 7, Write: true}
)

// A write whose outcome is not known is never reported as one that had no effect, whatever the kind.
func TestUnknownOutcomes(t *testing.T) {
	kinds := []string{"SomethingNew", "InternalError"}
	for kind := range mappings {
		if kind != "NamespaceAlreadyExists" {
			kinds = append(kinds, kind)
		}
	}
	for _, kind := range kinds {
		err := Convert(write, &client.Error{Kinds: []string{kind}, MayHaveBeenCommitted: true})
		require.IsType(t, &persistence.TimeoutError{}, err, kind)
		require.True(t, persistence.OperationPossiblySucceeded(err), kind)
	}
	for _, err := range []error{context.DeadlineExceeded, context.Canceled, errors.New("something else")} {
		require.IsType(t, &persistence.TimeoutError{}, Convert(write, err))
	}
}

// A write that surely had no effect makes no shard acquire itself again: its type is on Temporal's list.
func TestWritesWithoutEffect(t *testing.T) {
	notOfShards := map[string]bool{ // kinds that no write of a shard has
		"NamespaceAlreadyExists": true, "NexusTableVersionConflict": true, "NexusEndpointVersionConflict": true,
		"KekNotConfigured": true, "InvalidQuery": true, "InvalidPageToken": true, "QueryBudgetExceeded": true, "QueryDeadlineExceeded": true,
	}
	for kind := range mappings {
		if !notOfShards[kind] {
			err := Convert(write, &client.Error{Kinds: []string{kind}})
			require.False(t, persistence.OperationPossiblySucceeded(err), "%s became %T", kind, err)
		}
	}
}

// Unavailable keys are a matter of their namespace: Temporal waits with its tasks, and neither drops them nor gives them up.
func TestKeysThatAreNotAvailable(t *testing.T) {
	for _, call := range []client.Call{read, write} {
		for _, kinds := range [][]string{
			{"KmsUnavailable", "KmsError", "Unavailable", "StrongroomError"},
			{"KmsTimeout", "KmsUnavailable", "KmsError", "Timeout", "Unavailable", "StrongroomError"},
			{"AccessDenied", "KmsError", "StrongroomError"},
			{"KeyNotFound", "KmsError", "StrongroomError"},
		} {
			var exhausted *serviceerror.ResourceExhausted
			require.ErrorAs(t, Convert(call, &client.Error{Kinds: kinds, Message: "m"}), &exhausted, kinds)
			require.Equal(t, enumspb.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE, exhausted.Scope)
			require.Equal(t, "m", exhausted.Message)
		}
		var gone *serviceerror.NotFound
		require.ErrorAs(t, Convert(call, &client.Error{Kinds: []string{"KeyDestroyed", "KmsError", "StrongroomError"}}), &gone)
	}
}

// Reads of a database that does not answer are repeated by Temporal.
func TestReadsOfADatabaseThatDoesNotAnswer(t *testing.T) {
	for _, kinds := range [][]string{
		{"DatabaseTimeout", "DatabaseUnavailable", "StorageError", "Timeout", "Unavailable", "StrongroomError"},
		{client.KindUnavailable}, {client.KindTimeout}, {"SomethingNew"},
	} {
		require.IsType(t, &serviceerror.Unavailable{}, Convert(read, &client.Error{Kinds: kinds}), kinds)
	}
}

// Temporal gives a task up after 70 reads that end with Unavailable. It waits without end for what an operator must repair.
func TestReadsThatWaitForAnOperator(t *testing.T) {
	for _, kind := range []string{"PermissionDenied", "AuditUnavailable", "PinMismatch", "PolicyAltered"} {
		var exhausted *serviceerror.ResourceExhausted
		require.ErrorAs(t, Convert(read, &client.Error{Kinds: []string{kind, "StrongroomError"}}), &exhausted, kind)
		require.Equal(t, enumspb.RESOURCE_EXHAUSTED_SCOPE_SYSTEM, exhausted.Scope)
	}
}

// The fields of the refusals reach Temporal.
func TestFields(t *testing.T) {
	err := Convert(write, &client.Error{Kinds: []string{"ShardOwnershipLost", "ConditionFailed"}, Message: "m"})
	require.Equal(t, &persistence.ShardOwnershipLostError{ShardID: 7, Msg: "m"}, err)

	err = Convert(write, &client.Error{
		Kinds: []string{"WorkflowConditionFailed", "ConditionFailed"}, Fields: map[string]any{"next_event_id": int64(3), "db_record_version": uint64(9)},
	})
	require.Equal(t, &persistence.WorkflowConditionFailedError{NextEventID: 3, DBRecordVersion: 9}, err)
}

// The current run of a refused write is described as Temporal's own stores do.
func TestCurrentRun(t *testing.T) {
	runID, start := uuid.New(), time.Unix(12, 34).UTC()
	requestIDs := map[string]*persistencespb.RequestIDInfo{"r": {EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, EventId: 1}}
	state, err := serialization.NewSerializer().WorkflowExecutionStateToBlob(&persistencespb.WorkflowExecutionState{
		RunId: runID.String(), CreateRequestId: "r", RequestIds: requestIDs,
		State: enumsspb.WORKFLOW_EXECUTION_STATE_RUNNING, Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING,
	})
	require.NoError(t, err)
	kinds := []string{"CurrentWorkflowConditionFailed", "ConditionFailed"}
	fields := map[string]any{
		"run_id": runID[:], "create_request_id": "r", "state": int64(2), "status": int64(1), "last_write_version": int64(5),
		"start_time": start.UnixNano(), "execution_state": []any{state.Data, int64(1)},
	}
	failed := &persistence.CurrentWorkflowConditionFailedError{}
	require.ErrorAs(t, Convert(write, &client.Error{Kinds: kinds, Fields: fields}), &failed)
	require.Equal(t, runID.String(), failed.RunID)
	require.Equal(t, enumsspb.WORKFLOW_EXECUTION_STATE_RUNNING, failed.State)
	require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, failed.Status)
	require.Equal(t, int64(5), failed.LastWriteVersion)
	require.Equal(t, &start, failed.StartTime)
	require.Equal(t, int64(1), failed.RequestIDs["r"].EventId)

	require.ErrorAs(t, Convert(write, &client.Error{Kinds: kinds, Fields: map[string]any{"run_id": nil}}), &failed)
	require.Equal(t, &persistence.CurrentWorkflowConditionFailedError{}, failed, "a workflow without a current run")
}

// Every error class of the stores is mapped by itself or by a base class, so that a new class is never an unknown outcome by oversight.
func TestEveryErrorClass(t *testing.T) {
	class := regexp.MustCompile(`(?m)^class (\w+)\(([\w, ]+)\):`)
	bases := map[string][]string{}
	for _, file := range []string{
		"kms/errors.py", "storage/errors.py", "storage/executions/errors.py", "storage/matching/user_data_rows.py",
	} {
		source, err := os.ReadFile("../../../" + file)
		require.NoError(t, err)
		for _, found := range class.FindAllSubmatch(source, -1) {
			bases[string(found[1])] = regexp.MustCompile(`\w+`).FindAllString(string(found[2]), -1)
		}
	}
	require.Greater(t, len(bases), 30)
	var mapped func(kind string) bool
	mapped = func(kind string) bool {
		if _, ok := mappings[kind]; ok {
			return true
		}
		for _, base := range bases[kind] {
			if mapped(base) {
				return true
			}
		}
		return false
	}
	notRaisedByStores := map[string]bool{"StrongroomError": true, "InvalidCertificate": true}
	for kind, parents := range bases {
		isError := kind == "StrongroomError" || len(parents) > 0 && bases[parents[0]] != nil
		if isError && !notRaisedByStores[kind] {
			require.True(t, mapped(kind), kind)
		}
	}
}
