package stores

import (
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/service/history/tasks"

	"strongroom/temporal/internal/wire"
)

// mutation writes a WorkflowMutation.
func (r *request) mutation(writer *wire.Writer, mutation *persistence.InternalWorkflowMutation) {
	fields := writer.Map()
	r.ids(fields, mutation.NamespaceID, mutation.WorkflowID, mutation.RunID)
	fields.Field("execution_info").Blob(mutation.ExecutionInfoBlob)
	executionState(fields.Field("execution_state"), mutation.ExecutionState, mutation.ExecutionStateBlob)
	versions(fields, mutation.NextEventID, mutation.LastWriteVersion, mutation.DBRecordVersion, mutation.Condition)
	numberedBlobs(fields, "upsert_activity_infos", mutation.UpsertActivityInfos)
	numbers(fields, "delete_activity_infos", mutation.DeleteActivityInfos)
	namedBlobs(fields, "upsert_timer_infos", mutation.UpsertTimerInfos)
	texts(fields, "delete_timer_infos", mutation.DeleteTimerInfos)
	numberedBlobs(fields, "upsert_child_execution_infos", mutation.UpsertChildExecutionInfos)
	numbers(fields, "delete_child_execution_infos", mutation.DeleteChildExecutionInfos)
	numberedBlobs(fields, "upsert_request_cancel_infos", mutation.UpsertRequestCancelInfos)
	numbers(fields, "delete_request_cancel_infos", mutation.DeleteRequestCancelInfos)
	numberedBlobs(fields, "upsert_signal_infos", mutation.UpsertSignalInfos)
	numbers(fields, "delete_signal_infos", mutation.DeleteSignalInfos)
	texts(fields, "upsert_signal_requested_ids", mutation.UpsertSignalRequestedIDs)
	texts(fields, "delete_signal_requested_ids", mutation.DeleteSignalRequestedIDs)
	chasmNodes(fields, "upsert_chasm_nodes", mutation.UpsertChasmNodes)
	texts(fields, "delete_chasm_nodes", mutation.DeleteChasmNodes)
	if mutation.NewBufferedEvents != nil {
		fields.Field("new_buffered_events").Blob(mutation.NewBufferedEvents)
	}
	if mutation.ClearBufferedEvents {
		fields.Field("clear_buffered_events").Bool(true)
	}
	historyTasks(fields, mutation.Tasks)
	fields.End()
}

// snapshot writes a WorkflowSnapshot.
func (r *request) snapshot(writer *wire.Writer, snapshot *persistence.InternalWorkflowSnapshot) {
	fields := writer.Map()
	r.ids(fields, snapshot.NamespaceID, snapshot.WorkflowID, snapshot.RunID)
	fields.Field("execution_info").Blob(snapshot.ExecutionInfoBlob)
	executionState(fields.Field("execution_state"), snapshot.ExecutionState, snapshot.ExecutionStateBlob)
	versions(fields, snapshot.NextEventID, snapshot.LastWriteVersion, snapshot.DBRecordVersion, snapshot.Condition)
	numberedBlobs(fields, "activity_infos", snapshot.ActivityInfos)
	namedBlobs(fields, "timer_infos", snapshot.TimerInfos)
	numberedBlobs(fields, "child_execution_infos", snapshot.ChildExecutionInfos)
	numberedBlobs(fields, "request_cancel_infos", snapshot.RequestCancelInfos)
	numberedBlobs(fields, "signal_infos", snapshot.SignalInfos)
	texts(fields, "signal_requested_ids", snapshot.SignalRequestedIDs)
	chasmNodes(fields, "chasm_nodes", snapshot.ChasmNodes)
	historyTasks(fields, snapshot.Tasks)
	fields.End()
}

// ids writes the fields that name a run.
func (r *request) ids(fields *wire.Map, namespaceID, workflowID, runID string) {
	r.id(fields.Field("namespace_id"), "namespace_id", namespaceID)
	fields.Field("workflow_id").Text(workflowID)
	r.id(fields.Field("run_id"), "run_id", runID)
}

func versions(fields *wire.Map, nextEventID, lastWriteVersion, dbRecordVersion, condition int64) {
	fields.Field("next_event_id").Int(nextEventID)
	fields.Field("last_write_version").Int(lastWriteVersion)
	fields.Field("db_record_version").Int(dbRecordVersion)
	fields.Field("condition").Int(condition)
}

// executionState writes an ExecutionState: the blob, and the fields that the cell compares.
func executionState(writer *wire.Writer, state *persistencespb.WorkflowExecutionState, encoded *blob) {
	fields := writer.Map()
	fields.Field("state").Int(int64(state.GetState()))
	fields.Field("status").Int(int64(state.GetStatus()))
	fields.Field("blob").Blob(encoded)
	if requestID := state.GetCreateRequestId(); requestID != "" {
		fields.Field("create_request_id").Text(requestID)
	}
	if start := state.GetStartTime(); start != nil {
		fields.Field("start_time").Int(nanoseconds(start.AsTime()))
	}
	fields.End()
}

func numberedBlobs(fields *wire.Map, name string, blobs map[int64]*blob) {
	if len(blobs) == 0 {
		return
	}
	entries := fields.Field(name).Map()
	for id, value := range blobs {
		writer := entries.Key()
		writer.Int(id)
		writer.Blob(value)
	}
	entries.End()
}

func namedBlobs(fields *wire.Map, name string, blobs map[string]*blob) {
	if len(blobs) == 0 {
		return
	}
	entries := fields.Field(name).Map()
	for id, value := range blobs {
		entries.Field(id).Blob(value)
	}
	entries.End()
}

func chasmNodes(fields *wire.Map, name string, nodes map[string]persistence.InternalChasmNode) {
	if len(nodes) == 0 {
		return
	}
	entries := fields.Field(name).Map()
	for path, node := range nodes {
		writer := entries.Field(path)
		writer.Array(2)
		writer.Blob(node.Metadata)
		writer.Blob(node.Data)
	}
	entries.End()
}

func numbers(fields *wire.Map, name string, ids map[int64]struct{}) {
	if len(ids) == 0 {
		return
	}
	writer := fields.Field(name)
	writer.Array(len(ids))
	for id := range ids {
		writer.Int(id)
	}
}

func texts(fields *wire.Map, name string, ids map[string]struct{}) {
	if len(ids) == 0 {
		return
	}
	writer := fields.Field(name)
	writer.Array(len(ids))
	for id := range ids {
		writer.Text(id)
	}
}

// historyTasks writes the field tasks: a map of categories to tasks.
func historyTasks(fields *wire.Map, byCategory map[tasks.Category][]persistence.InternalHistoryTask) {
	if len(byCategory) == 0 {
		return
	}
	entries := fields.Field("tasks").Map()
	for category, several := range byCategory {
		writer := entries.Key()
		taskCategory(writer, category)
		writer.Array(len(several))
		for _, task := range several {
			writer.Array(2)
			taskKey(writer, category, task.Key)
			writer.Blob(task.Blob)
		}
	}
	entries.End()
}

// mutableState reads a WorkflowMutableState.
func mutableState(reader *wire.Reader) *persistence.InternalWorkflowMutableState {
	state := &persistence.InternalWorkflowMutableState{}
	reader.Fields(func(name string) {
		switch name {
		case "execution_info":
			state.ExecutionInfo = reader.Blob()
		case "execution_state":
			state.ExecutionState = reader.Blob()
		case "next_event_id":
			state.NextEventID = reader.Int()
		case "db_record_version":
			state.DBRecordVersion = reader.Int()
		case "activity_infos":
			state.ActivityInfos = readNumberedBlobs(reader)
		case "timer_infos":
			state.TimerInfos = readNamedBlobs(reader)
		case "child_execution_infos":
			state.ChildExecutionInfos = readNumberedBlobs(reader)
		case "request_cancel_infos":
			state.RequestCancelInfos = readNumberedBlobs(reader)
		case "signal_infos":
			state.SignalInfos = readNumberedBlobs(reader)
		case "signal_requested_ids":
			reader.Elements(func() { state.SignalRequestedIDs = append(state.SignalRequestedIDs, reader.Text()) })
		case "chasm_nodes":
			state.ChasmNodes = readChasmNodes(reader)
		case "buffered_events":
			reader.Elements(func() { state.BufferedEvents = append(state.BufferedEvents, reader.Blob()) })
		}
	})
	return state
}

func readNumberedBlobs(reader *wire.Reader) map[int64]*blob {
	blobs := map[int64]*blob{}
	reader.Entries(func() {
		id := reader.Int()
		blobs[id] = reader.Blob()
	})
	return blobs
}

func readNamedBlobs(reader *wire.Reader) map[string]*blob {
	blobs := map[string]*blob{}
	reader.Entries(func() {
		id := reader.Text()
		blobs[id] = reader.Blob()
	})
	return blobs
}

func readChasmNodes(reader *wire.Reader) map[string]persistence.InternalChasmNode {
	nodes := map[string]persistence.InternalChasmNode{}
	reader.Entries(func() {
		path := reader.Text()
		var node persistence.InternalChasmNode
		reader.Tuple(func(index int) {
			switch index {
			case 0:
				node.Metadata = reader.Blob()
			case 1:
				node.Data = reader.Blob()
			}
		})
		nodes[path] = node
	})
	return nodes
}
