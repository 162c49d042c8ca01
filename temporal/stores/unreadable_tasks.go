package stores

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	enumsspb "go.temporal.io/server/api/enums/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/service/history/tasks"
	"google.golang.org/protobuf/types/known/timestamppb"

	"strongroom/temporal/internal/wire"
)

// placeholderWorkflowID is the workflow id of a placeholder: a task in the place of a task whose row can't be read now.
//
// A placeholder has the real namespace and position. Its type is one whose execution loads mutable state before anything else, and its
// run id encodes the row. GetWorkflowExecution recognises it, and answers with an error that fits the row, so that only this task waits.
const placeholderWorkflowID = "strongroom-unreadable"

// unreadableTask is a row that can't be read.
type unreadableTask struct {
	key         tasks.Key
	namespaceID string
	// message is why. It names no value of a tenant.
	message string
	// permanent is whether the row can never be read again, because its key is destroyed.
	permanent bool
	// damaged is whether the row was altered or moved.
	damaged bool
}

func readUnreadableTask(reader *wire.Reader) unreadableTask {
	var row unreadableTask
	reader.Fields(func(name string) {
		switch name {
		case "key":
			row.key = readTaskKey(reader)
		case "namespace_id":
			row.namespaceID = reader.UUID()
		case "reason":
			reason := readReason(reader)
			row.message, row.permanent, row.damaged = reason.message, reason.permanent, reason.damaged
		}
	})
	return row
}

// placeholderRow is the row that a placeholder replaces.
type placeholderRow struct {
	category tasks.Category
	key      tasks.Key
}

// The run id of a placeholder has the fire time in its first half and the task id in its second. The first two bits are the kind of the
// category. The first bit of the second half is 0, which makes the variant of the UUID another one than that of every run id of
// Temporal: a tenant can't make a run that looks like a placeholder.
const (
	timerRow     = uint64(0) << 62
	archivalRow  = uint64(1) << 62
	immediateRow = uint64(2) << 62 // the category's number instead of the fire time
	kindOfRow    = uint64(3) << 62
)

func (p placeholderRow) runID() (string, error) {
	first := uint64(nanoseconds(p.key.FireTime)) // #nosec G115 - 0 or more
	if p.category.Type() == tasks.CategoryTypeImmediate {
		first = uint64(p.category.ID()) // #nosec G115 - 1 or more
	}
	if first&kindOfRow != 0 {
		return "", fmt.Errorf("the fire time of task %d is after the year 2116", p.key.TaskID)
	}
	switch {
	case p.category.Type() == tasks.CategoryTypeImmediate:
		first |= immediateRow
	case p.category.ID() == tasks.CategoryIDTimer:
		first |= timerRow
	case p.category.ID() == tasks.CategoryIDArchival:
		first |= archivalRow
	default:
		return "", fmt.Errorf("category %d is not known to this version", p.category.ID())
	}
	var id uuid.UUID
	binary.BigEndian.PutUint64(id[:8], first)
	binary.BigEndian.PutUint64(id[8:], uint64(p.key.TaskID)) // #nosec G115 - 0 or more
	return id.String(), nil
}

// placeholderOf returns the row that a run replaces, and whether the run is a placeholder.
func placeholderOf(workflowID, runID string) (placeholderRow, bool) {
	if workflowID != placeholderWorkflowID {
		return placeholderRow{}, false
	}
	id, err := uuid.Parse(runID)
	if err != nil || id[8]&0x80 != 0 {
		return placeholderRow{}, false
	}
	first := binary.BigEndian.Uint64(id[:8])
	value := int64(first &^ kindOfRow)               // #nosec G115 - 62 bits
	taskID := int64(binary.BigEndian.Uint64(id[8:])) // #nosec G115 - 63 bits
	scheduled := tasks.NewKey(time.Unix(0, value).UTC(), taskID)
	switch first & kindOfRow {
	case timerRow:
		return placeholderRow{tasks.CategoryTimer, scheduled}, true
	case archivalRow:
		return placeholderRow{tasks.CategoryArchival, scheduled}, true
	case immediateRow:
		category := tasks.NewCategory(int(value), tasks.CategoryTypeImmediate, "")
		return placeholderRow{category, tasks.NewImmediateKey(taskID)}, true
	default:
		return placeholderRow{}, false
	}
}

// placeholder returns the task in the place of a row.
func (s *executionStore) placeholder(
	category tasks.Category, row unreadableTask,
) (persistence.InternalHistoryTask, error) {
	runID, err := placeholderRow{category, row.key}.runID()
	var encoded *blob
	if err == nil {
		encoded, err = s.placeholderBlob(category, row, runID)
	}
	if err != nil {
		return persistence.InternalHistoryTask{}, serviceerror.NewUnavailablef(
			"task %d of category %d can't be read, and no placeholder can replace it: %v", row.key.TaskID, category.ID(), err)
	}
	return persistence.InternalHistoryTask{Key: row.key, Blob: encoded}, nil
}

func (s *executionStore) placeholderBlob(category tasks.Category, row unreadableTask, runID string) (*blob, error) {
	due := timestamppb.New(row.key.FireTime)
	switch category.ID() {
	case tasks.CategoryIDTransfer:
		return s.serializer.TransferTaskInfoToBlob(&persistencespb.TransferTaskInfo{
			NamespaceId: row.namespaceID, WorkflowId: placeholderWorkflowID, RunId: runID, TaskId: row.key.TaskID, VisibilityTime: due,
			TaskType: enumsspb.TASK_TYPE_TRANSFER_ACTIVITY_TASK,
		})
	case tasks.CategoryIDTimer:
		return s.serializer.TimerTaskInfoToBlob(&persistencespb.TimerTaskInfo{
			NamespaceId: row.namespaceID, WorkflowId: placeholderWorkflowID, RunId: runID, TaskId: row.key.TaskID, VisibilityTime: due,
			TaskType: enumsspb.TASK_TYPE_USER_TIMER,
		})
	case tasks.CategoryIDReplication:
		return s.serializer.ReplicationTaskInfoToBlob(&persistencespb.ReplicationTaskInfo{
			NamespaceId: row.namespaceID, WorkflowId: placeholderWorkflowID, RunId: runID, TaskId: row.key.TaskID, VisibilityTime: due,
			TaskType: enumsspb.TASK_TYPE_REPLICATION_HISTORY,
		})
	case tasks.CategoryIDVisibility:
		return s.serializer.VisibilityTaskInfoToBlob(&persistencespb.VisibilityTaskInfo{
			NamespaceId: row.namespaceID, WorkflowId: placeholderWorkflowID, RunId: runID, TaskId: row.key.TaskID, VisibilityTime: due,
			TaskType: enumsspb.TASK_TYPE_VISIBILITY_UPSERT_EXECUTION,
		})
	case tasks.CategoryIDArchival:
		return s.serializer.ArchivalTaskInfoToBlob(&persistencespb.ArchivalTaskInfo{
			NamespaceId: row.namespaceID, WorkflowId: placeholderWorkflowID, RunId: runID, TaskId: row.key.TaskID, VisibilityTime: due,
			TaskType: enumsspb.TASK_TYPE_ARCHIVAL_ARCHIVE_EXECUTION,
		})
	case tasks.CategoryIDOutbound:
		return s.serializer.OutboundTaskInfoToBlob(&persistencespb.OutboundTaskInfo{
			NamespaceId: row.namespaceID, WorkflowId: placeholderWorkflowID, RunId: runID, TaskId: row.key.TaskID, VisibilityTime: due,
			TaskType:    enumsspb.TASK_TYPE_CHASM,
			TaskDetails: &persistencespb.OutboundTaskInfo_ChasmTaskInfo{ChasmTaskInfo: &persistencespb.ChasmTaskInfo{ArchetypeId: chasm.WorkflowArchetypeID}},
		})
	default:
		return nil, fmt.Errorf("category %d is not known to this version", category.ID())
	}
}

// placeholderError returns the error of a placeholder's execution. It reads the row again:
//   - A row that is gone, or whose key is destroyed: NotFound. Temporal drops the task.
//   - A row that was altered: an error that sends the task to Temporal's dead letters.
//   - A row that can be read again: ShardOwnershipLost. The shard is loaded again and reads the real task; nothing was acknowledged.
//   - Any other row: ResourceExhausted in the namespace. Temporal tries this one task again later, however often that is.
func (s *executionStore) placeholderError(ctx context.Context, shardID int32, row placeholderRow) error {
	after := tasks.NewKey(row.key.FireTime, row.key.TaskID+1)
	page, err := s.historyTaskRange(ctx, shardID, row.category, row.key, after, 1, nil)
	switch {
	case err != nil:
		return err
	case len(page.tasks) > 0:
		return &persistence.ShardOwnershipLostError{ShardID: shardID, Msg: "a history task can be read again, so the shard is reloaded"}
	case len(page.unreadable) == 0:
		return serviceerror.NewNotFound("the history task is gone")
	}
	task := page.unreadable[0]
	switch {
	case task.damaged:
		return &damagedTaskError{message: fmt.Sprintf("history task %d of shard %d can't be opened: %s", row.key.TaskID, shardID, task.message)}
	case task.permanent:
		return serviceerror.NewNotFound("the history task can never be read again: " + task.message)
	default:
		return notNow("the history task", reason{message: task.message})
	}
}

// damagedTaskError sends a task to Temporal's dead letters at the first attempt.
type damagedTaskError struct{ message string }

func (e *damagedTaskError) Error() string { return e.message }

// IsTerminalTaskError is how Temporal asks whether a task can't ever succeed.
func (e *damagedTaskError) IsTerminalTaskError() bool { return true }
