package stores

import (
	"context"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

// taskStore keeps task queues and tasks, plain or fair (this file), and user data (user_data.go), which both forms share.
type taskStore struct {
	base
	// store is the prefix of the operations: "tasks." or "fair_tasks.".
	store string
}

var _ persistence.TaskStore = (*taskStore)(nil)

func (s *taskStore) CreateTaskQueue(ctx context.Context, request *persistence.InternalCreateTaskQueueRequest) error {
	r := newWrite(s.store + "create_task_queue")
	r.taskQueue(request.NamespaceID, request.TaskQueue, request.TaskType, request.RangeID, request.TaskQueueInfo)
	return run(ctx, s, r)
}

func (s *taskStore) GetTaskQueue(
	ctx context.Context, request *persistence.InternalGetTaskQueueRequest,
) (*persistence.InternalGetTaskQueueResponse, error) {
	r := newRead(s.store + "get_task_queue")
	r.queue(request.NamespaceID, request.TaskQueue, request.TaskType)
	response := &persistence.InternalGetTaskQueueResponse{}
	err := ask(ctx, s, r, func(reader *wire.Reader) { response.RangeID, response.TaskQueueInfo = readTaskQueue(reader) })
	if err != nil {
		return nil, err
	}
	return response, nil
}

func (s *taskStore) UpdateTaskQueue(
	ctx context.Context, request *persistence.InternalUpdateTaskQueueRequest,
) (*persistence.UpdateTaskQueueResponse, error) {
	r := newWrite(s.store + "update_task_queue")
	r.taskQueue(request.NamespaceID, request.TaskQueue, request.TaskType, request.RangeID, request.TaskQueueInfo)
	r.field("previous_range_id").Int(request.PrevRangeID)
	if err := run(ctx, s, r); err != nil {
		return nil, err
	}
	return &persistence.UpdateTaskQueueResponse{}, nil
}

// ListTaskQueue leaves out queues whose rows can't be opened. Temporal's scavenger then leaves them in place.
func (s *taskStore) ListTaskQueue(
	ctx context.Context, request *persistence.ListTaskQueueRequest,
) (*persistence.InternalListTaskQueueResponse, error) {
	r := newRead(s.store + "list_task_queue")
	r.page(request.PageSize, request.PageToken)
	response := &persistence.InternalListTaskQueueResponse{}
	unreadable := 0
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "queues", func() {
			rangeID, info := readTaskQueue(reader)
			response.Items = append(response.Items, &persistence.InternalListTaskQueueItem{RangeID: rangeID, TaskQueue: info})
		}, func() { unreadable++; reader.Skip() })
	})
	if err != nil {
		return nil, err
	}
	if unreadable > 0 {
		s.logger.Warn("Task queues were left out of a list, because their rows can't be opened now.", tag.Int("queues", unreadable))
	}
	return response, nil
}

func (s *taskStore) DeleteTaskQueue(ctx context.Context, request *persistence.DeleteTaskQueueRequest) error {
	r := newWrite(s.store + "delete_task_queue")
	r.queue(request.TaskQueue.NamespaceID, request.TaskQueue.TaskQueueName, request.TaskQueue.TaskQueueType)
	r.field("range_id").Int(request.RangeID)
	return run(ctx, s, r)
}

func (s *taskStore) CreateTasks(
	ctx context.Context, request *persistence.InternalCreateTasksRequest,
) (*persistence.CreateTasksResponse, error) {
	r := newWrite(s.store + "create_tasks")
	r.queue(request.NamespaceID, request.TaskQueue, request.TaskType)
	r.field("range_id").Int(request.RangeID)
	writer := r.field("tasks")
	writer.Array(len(request.Tasks))
	for _, task := range request.Tasks {
		writer.Array(4)
		writer.Int(task.TaskId)
		writer.Blob(task.Task)
		writer.Int(task.TaskPass)
		writer.Int(int64(task.Subqueue))
	}
	if err := run(ctx, s, r); err != nil {
		return nil, err
	}
	return &persistence.CreateTasksResponse{UpdatedMetadata: false}, nil
}

func (s *taskStore) GetTasks(
	ctx context.Context, request *persistence.GetTasksRequest,
) (*persistence.InternalGetTasksResponse, error) {
	r := newRead(s.store + "get_tasks")
	r.queue(request.NamespaceID, request.TaskQueue, request.TaskType)
	r.field("min_pass").Int(request.InclusiveMinPass)
	r.field("min_task_id").Int(request.InclusiveMinTaskID)
	r.field("max_task_id").Int(request.ExclusiveMaxTaskID)
	r.field("subqueue").Int(int64(request.Subqueue))
	r.page(request.PageSize, request.NextPageToken)
	response := &persistence.InternalGetTasksResponse{}
	var unreadable []reason
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "tasks", collect(&response.Tasks, reader, taskBlob), collect(&unreadable, reader, reasonOf))
	})
	if err != nil {
		return nil, err
	}
	if err := s.leaveOut("tasks of a task queue", unreadable); err != nil {
		return nil, err
	}
	return response, nil
}

// leaveOut lets a list go on without the rows that can never be read. Rows that can be read later are an error, so that the reader
// waits for them.
func (s *taskStore) leaveOut(what string, unreadable []reason) error {
	for _, why := range unreadable {
		if !why.damaged && !why.permanent {
			return notNow(what, why)
		}
		s.logger.Error("A row can't be opened, and is left out.", tag.String("list", what), tag.String("reason", why.message))
	}
	return nil
}

func (s *taskStore) CompleteTasksLessThan(
	ctx context.Context, request *persistence.CompleteTasksLessThanRequest,
) (int, error) {
	r := newWrite(s.store + "complete_tasks_less_than")
	r.queue(request.NamespaceID, request.TaskQueueName, request.TaskType)
	r.field("max_pass").Int(request.ExclusiveMaxPass)
	r.field("max_task_id").Int(request.ExclusiveMaxTaskID)
	r.field("subqueue").Int(int64(request.Subqueue))
	r.field("limit").Int(int64(request.Limit))
	if rangeID := conditionRangeID(request); rangeID != 0 {
		r.field("range_id").Int(rangeID)
	}
	completed := int64(0)
	err := ask(ctx, s, r, func(reader *wire.Reader) { completed = reader.Int() })
	return int(completed), err
}

// taskQueue adds the argument task_queue.
func (r *request) taskQueue(namespaceID, name string, taskType enumspb.TaskQueueType, rangeID int64, info *blob) {
	fields := r.field("task_queue").Map()
	r.queueKey(fields.Field("queue"), namespaceID, name, taskType)
	fields.Field("range_id").Int(rangeID)
	fields.Field("info").Blob(info)
	fields.End()
}

// queue adds the argument queue.
func (r *request) queue(namespaceID, name string, taskType enumspb.TaskQueueType) {
	r.queueKey(r.field("queue"), namespaceID, name, taskType)
}

// queueKey writes a TaskQueueKey, and sends the call to the queue's worker.
func (r *request) queueKey(writer *wire.Writer, namespaceID, name string, taskType enumspb.TaskQueueType) {
	writer.Array(3)
	r.id(writer, "namespace_id", namespaceID)
	writer.Text(name)
	writer.Int(int64(taskType))
	id, _ := uuid.Parse(namespaceID) // r.id refuses an id that is not valid
	r.call.QueueKey = append(id[:], name...)
}

// readTaskQueue reads the range id and the info of a TaskQueue.
func readTaskQueue(reader *wire.Reader) (rangeID int64, info *blob) {
	reader.Fields(func(name string) {
		switch name {
		case "range_id":
			rangeID = reader.Int()
		case "info":
			info = reader.Blob()
		}
	})
	return rangeID, info
}

// taskBlob reads the blob of a Task.
func taskBlob(reader *wire.Reader) *blob {
	var task *blob
	reader.Tuple(func(index int) {
		if index == 1 {
			task = reader.Blob()
		}
	})
	return task
}
