package stores

import (
	"context"

	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

func (s *taskStore) GetTaskQueueUserData(
	ctx context.Context, request *persistence.GetTaskQueueUserDataRequest,
) (*persistence.InternalGetTaskQueueUserDataResponse, error) {
	r := newRead("task_queue_user_data.get_task_queue_user_data")
	r.uuid("namespace_id", request.NamespaceID)
	r.field("task_queue").Text(request.TaskQueue)
	var entry persistence.InternalTaskQueueUserDataEntry
	if err := ask(ctx, s, r, func(reader *wire.Reader) { entry = userDataEntry(reader) }); err != nil {
		return nil, err
	}
	return &persistence.InternalGetTaskQueueUserDataResponse{Version: entry.Version, UserData: entry.Data}, nil
}

// UpdateTaskQueueUserData applies all updates or none.
func (s *taskStore) UpdateTaskQueueUserData(
	ctx context.Context, request *persistence.InternalUpdateTaskQueueUserDataRequest,
) error {
	r := newWrite("task_queue_user_data.update_task_queue_user_data")
	r.uuid("namespace_id", request.NamespaceID)
	updates := r.field("updates").Map()
	for taskQueue, update := range request.Updates {
		fields := updates.Field(taskQueue).Map()
		fields.Field("version").Int(update.Version)
		fields.Field("data").Blob(update.UserData)
		buildIDs(fields, "build_ids_added", update.BuildIdsAdded)
		buildIDs(fields, "build_ids_removed", update.BuildIdsRemoved)
		fields.End()
	}
	updates.End()
	conflicting := map[string]bool{}
	err := run(ctx, watcher{s, func(failure *client.Error) {
		names, _ := failure.Fields["conflicting"].([]any)
		for _, name := range names {
			if text, ok := name.(string); ok {
				conflicting[text] = true
			}
		}
	}}, r)
	for taskQueue, update := range request.Updates {
		if update.Applied != nil {
			*update.Applied = err == nil
		}
		if update.Conflicting != nil && conflicting[taskQueue] {
			*update.Conflicting = true
		}
	}
	return err
}

func (s *taskStore) ListTaskQueueUserDataEntries(
	ctx context.Context, request *persistence.ListTaskQueueUserDataEntriesRequest,
) (*persistence.InternalListTaskQueueUserDataEntriesResponse, error) {
	r := newRead("task_queue_user_data.list_task_queue_user_data_entries")
	r.uuid("namespace_id", request.NamespaceID)
	r.page(request.PageSize, request.NextPageToken)
	response := &persistence.InternalListTaskQueueUserDataEntriesResponse{}
	var unreadable []reason
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "entries", collect(&response.Entries, reader, userDataEntry), collect(&unreadable, reader, reasonOf))
	})
	if err != nil {
		return nil, err
	}
	if err := s.leaveOut("user data of task queues", unreadable); err != nil {
		return nil, err
	}
	return response, nil
}

func (s *taskStore) GetTaskQueuesByBuildId(
	ctx context.Context, request *persistence.GetTaskQueuesByBuildIdRequest,
) ([]string, error) {
	r := newRead("task_queue_user_data.get_task_queues_by_build_id")
	r.uuid("namespace_id", request.NamespaceID)
	r.field("build_id").Text(request.BuildID)
	var names []string
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		reader.Elements(func() { names = append(names, reader.Text()) })
	})
	return names, err
}

func (s *taskStore) CountTaskQueuesByBuildId(
	ctx context.Context, request *persistence.CountTaskQueuesByBuildIdRequest,
) (int, error) {
	r := newRead("task_queue_user_data.count_task_queues_by_build_id")
	r.uuid("namespace_id", request.NamespaceID)
	r.field("build_id").Text(request.BuildID)
	count := int64(0)
	err := ask(ctx, s, r, func(reader *wire.Reader) { count = reader.Int() })
	return int(count), err
}

func buildIDs(fields *wire.Map, name string, ids []string) {
	if len(ids) == 0 {
		return
	}
	writer := fields.Field(name)
	writer.Array(len(ids))
	for _, id := range ids {
		writer.Text(id)
	}
}

// userDataEntry reads a TaskQueueUserData.
func userDataEntry(reader *wire.Reader) persistence.InternalTaskQueueUserDataEntry {
	var entry persistence.InternalTaskQueueUserDataEntry
	reader.Fields(func(name string) {
		switch name {
		case "task_queue":
			entry.TaskQueue = reader.Text()
		case "version":
			entry.Version = reader.Int()
		case "data":
			entry.Data = reader.Blob()
		}
	})
	return entry
}
