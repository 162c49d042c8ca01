package stores

import (
	"context"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

type blob = commonpb.DataBlob

// executionStore keeps mutable state (this file), history (history.go) and history tasks (history_tasks.go).
type executionStore struct {
	base
	branches   *branchUtil
	namespaces *treeNamespaces
}

var _ persistence.ExecutionStore = (*executionStore)(nil)

func newExecutionStore(shared base) *executionStore {
	branches := newBranchUtil(shared.serializer)
	return &executionStore{base: shared, branches: branches, namespaces: newTreeNamespaces(shared.Doer)}
}

func (s *executionStore) CreateWorkflowExecution(
	ctx context.Context, request *persistence.InternalCreateWorkflowExecutionRequest,
) (*persistence.InternalCreateWorkflowExecutionResponse, error) {
	r := newWrite("executions.create_workflow_execution")
	fields := r.execution(request.ShardID, request.RangeID)
	fields.Field("mode").Int(int64(request.Mode))
	if request.PreviousRunID != "" {
		r.id(fields.Field("previous_run_id"), "previous_run_id", request.PreviousRunID)
	}
	fields.Field("previous_last_write_version").Int(request.PreviousLastWriteVersion)
	r.archetype(fields, request.ArchetypeID)
	r.snapshot(fields.Field("new_workflow_snapshot"), &request.NewWorkflowSnapshot)
	r.appends(fields, "new_workflow_new_events", request.NewWorkflowNewEvents)
	fields.End()
	if err := run(ctx, s, r); err != nil {
		return nil, err
	}
	return &persistence.InternalCreateWorkflowExecutionResponse{}, nil
}

func (s *executionStore) UpdateWorkflowExecution(
	ctx context.Context, request *persistence.InternalUpdateWorkflowExecutionRequest,
) error {
	r := newWrite("executions.update_workflow_execution")
	fields := r.execution(request.ShardID, request.RangeID)
	fields.Field("mode").Int(int64(request.Mode))
	r.archetype(fields, request.ArchetypeID)
	r.mutation(fields.Field("update_workflow_mutation"), &request.UpdateWorkflowMutation)
	r.appends(fields, "update_workflow_new_events", request.UpdateWorkflowNewEvents)
	if request.NewWorkflowSnapshot != nil {
		r.snapshot(fields.Field("new_workflow_snapshot"), request.NewWorkflowSnapshot)
		r.appends(fields, "new_workflow_new_events", request.NewWorkflowNewEvents)
	}
	fields.End()
	return run(ctx, s, r)
}

func (s *executionStore) ConflictResolveWorkflowExecution(
	ctx context.Context, request *persistence.InternalConflictResolveWorkflowExecutionRequest,
) error {
	r := newWrite("executions.conflict_resolve_workflow_execution")
	fields := r.execution(request.ShardID, request.RangeID)
	fields.Field("mode").Int(int64(request.Mode))
	r.archetype(fields, request.ArchetypeID)
	r.snapshot(fields.Field("reset_workflow_snapshot"), &request.ResetWorkflowSnapshot)
	r.appends(fields, "reset_workflow_events_new_events", request.ResetWorkflowEventsNewEvents)
	if request.NewWorkflowSnapshot != nil {
		r.snapshot(fields.Field("new_workflow_snapshot"), request.NewWorkflowSnapshot)
		r.appends(fields, "new_workflow_events_new_events", request.NewWorkflowEventsNewEvents)
	}
	if request.CurrentWorkflowMutation != nil {
		r.mutation(fields.Field("current_workflow_mutation"), request.CurrentWorkflowMutation)
		r.appends(fields, "current_workflow_events_new_events", request.CurrentWorkflowEventsNewEvents)
	}
	fields.End()
	return run(ctx, s, r)
}

func (s *executionStore) SetWorkflowExecution(
	ctx context.Context, request *persistence.InternalSetWorkflowExecutionRequest,
) error {
	r := newWrite("executions.set_workflow_execution")
	fields := r.execution(request.ShardID, request.RangeID)
	r.snapshot(fields.Field("set_workflow_snapshot"), &request.SetWorkflowSnapshot)
	fields.End()
	return run(ctx, s, r)
}

func (s *executionStore) GetWorkflowExecution(
	ctx context.Context, request *persistence.GetWorkflowExecutionRequest,
) (*persistence.InternalGetWorkflowExecutionResponse, error) {
	if row, ok := placeholderOf(request.WorkflowID, request.RunID); ok {
		return nil, s.placeholderError(ctx, request.ShardID, row)
	}
	r := newRead("executions.get_workflow_execution")
	r.runOf(request.ShardID, request.NamespaceID, request.WorkflowID, request.RunID)
	var state *persistence.InternalWorkflowMutableState
	if err := ask(ctx, s, r, func(reader *wire.Reader) { state = mutableState(reader) }); err != nil {
		return nil, err
	}
	return &persistence.InternalGetWorkflowExecutionResponse{State: state, DBRecordVersion: state.DBRecordVersion}, nil
}

func (s *executionStore) GetCurrentExecution(
	ctx context.Context, request *persistence.GetCurrentExecutionRequest,
) (*persistence.InternalGetCurrentExecutionResponse, error) {
	r := newRead("executions.get_current_execution")
	r.shard(request.ShardID)
	r.uuid("namespace_id", request.NamespaceID)
	r.field("workflow_id").Text(request.WorkflowID)
	r.archetype(r.fields, request.ArchetypeID)
	var runID string
	var state *blob
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		reader.Fields(func(name string) {
			switch name {
			case "run_id":
				runID = reader.UUID()
			case "execution_state":
				reader.Fields(func(name string) {
					if name == "blob" {
						state = reader.Blob()
					}
				})
			}
		})
	})
	if err != nil {
		return nil, err
	}
	decoded, err := s.serializer.WorkflowExecutionStateFromBlob(state)
	if err != nil {
		return nil, serviceerror.NewDataLoss("the state of the current run can't be decoded: " + err.Error())
	}
	return &persistence.InternalGetCurrentExecutionResponse{RunID: runID, ExecutionState: decoded}, nil
}

func (s *executionStore) DeleteWorkflowExecution(
	ctx context.Context, request *persistence.DeleteWorkflowExecutionRequest,
) error {
	r := newWrite("executions.delete_workflow_execution")
	r.runOf(request.ShardID, request.NamespaceID, request.WorkflowID, request.RunID)
	return run(ctx, s, r)
}

func (s *executionStore) DeleteCurrentWorkflowExecution(
	ctx context.Context, request *persistence.DeleteCurrentWorkflowExecutionRequest,
) error {
	r := newWrite("executions.delete_current_workflow_execution")
	r.runOf(request.ShardID, request.NamespaceID, request.WorkflowID, request.RunID)
	r.archetype(r.fields, request.ArchetypeID)
	return run(ctx, s, r)
}

// ListConcreteExecutions is not implemented, as in Temporal's SQL stores.
func (s *executionStore) ListConcreteExecutions(
	context.Context, *persistence.ListConcreteExecutionsRequest,
) (*persistence.InternalListConcreteExecutionsResponse, error) {
	return nil, serviceerror.NewUnimplemented("ListConcreteExecutions is not implemented")
}

// execution begins the argument of a write of mutable state.
func (r *request) execution(shardID int32, rangeID int64) *wire.Map {
	r.call.Shard = shardID
	fields := r.field("request").Map()
	fields.Field("shard_id").Int(int64(shardID))
	fields.Field("range_id").Int(rangeID)
	return fields
}

// runOf adds the arguments that name a run.
func (r *request) runOf(shardID int32, namespaceID, workflowID, runID string) {
	r.shard(shardID)
	r.uuid("namespace_id", namespaceID)
	r.field("workflow_id").Text(workflowID)
	r.uuid("run_id", runID)
}
