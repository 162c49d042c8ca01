package visibility

import (
	"context"
	"errors"
	"math"

	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence/visibility/manager"
	persistencestore "go.temporal.io/server/common/persistence/visibility/store"

	"strongroom/temporal/internal/client"
)

// lastVersion is the version of a deletion without one. The cell keeps the version after it for a mark in the search index.
const lastVersion = math.MaxInt64 - 1

// RecordWorkflowExecutionStarted writes the record of an open run.
func (s *Store) RecordWorkflowExecutionStarted(
	ctx context.Context, request *persistencestore.InternalRecordWorkflowExecutionStartedRequest,
) error {
	return s.record(ctx, request.InternalVisibilityRequestBase, nil)
}

// UpsertWorkflowExecution replaces the record of an open run.
func (s *Store) UpsertWorkflowExecution(
	ctx context.Context, request *persistencestore.InternalUpsertWorkflowExecutionRequest,
) error {
	return s.record(ctx, request.InternalVisibilityRequestBase, nil)
}

// RecordWorkflowExecutionClosed writes the record of a closed run.
func (s *Store) RecordWorkflowExecutionClosed(
	ctx context.Context, request *persistencestore.InternalRecordWorkflowExecutionClosedRequest,
) error {
	return s.record(ctx, request.InternalVisibilityRequestBase, closingOf(request))
}

// DeleteWorkflowExecution deletes the record of a run, and prevents that an older write brings it back.
func (s *Store) DeleteWorkflowExecution(ctx context.Context, request *manager.VisibilityDeleteWorkflowExecutionRequest) error {
	place, err := s.place(request.NamespaceID.String(), request.WorkflowID, request.RunID)
	if err != nil {
		return err
	}
	version := request.TaskID
	if version == 0 || version > lastVersion {
		version = lastVersion
	}
	_, err = s.call(ctx, "delete_workflow_execution", place.shard, true, runArguments(place, &version))
	return err
}

// record writes a record. A search attribute that the cell refuses is left out, because the visibility task would fail forever.
func (s *Store) record(ctx context.Context, request *persistencestore.InternalVisibilityRequestBase, closed *closing) error {
	place, err := s.place(request.NamespaceID, request.WorkflowID, request.RunID)
	if err != nil {
		return err
	}
	known, err := s.known()
	if err != nil {
		return err
	}
	decoded, err := decodeAttributes(request.SearchAttributes, known, s.logger)
	if err != nil {
		return err
	}
	written := openRecord(request, decoded.values)
	written.closed = closed
	for {
		call := client.Call{
			Operation: "visibility.record_workflow_executions",
			Shard:     place.shard,
			Write:     true,
			Arguments: recordArguments(place, request.TaskID, written, decoded.types),
		}
		_, err := s.client.Do(ctx, call)
		if err == nil {
			return nil
		}
		refused := refusedAttribute(err)
		if _, ok := decoded.values[refused]; !ok {
			return convert(call, err)
		}
		s.logger.Warn("skipping a search attribute", tag.String("search-attribute", refused), tag.Error(err))
		delete(decoded.values, refused)
		delete(decoded.types, refused)
	}
}

// refusedAttribute returns the name of the search attribute that a record was refused for; empty for every other error.
func refusedAttribute(err error) string {
	var refusal *client.Error
	if !errors.As(err, &refusal) || !refusal.IsKind("InvalidRecord") {
		return ""
	}
	name, _ := refusal.Fields["attribute"].(string)
	return name
}
