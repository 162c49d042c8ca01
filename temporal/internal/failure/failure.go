// Package failure turns the errors of a cell into the errors that Temporal acts on.
package failure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	enumsspb "go.temporal.io/server/api/enums/v1"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"

	"strongroom/temporal/internal/client"
)

// mappings turn the kinds of errors into Temporal's errors. The first kind of an error that is listed here decides.
//
// Temporal acquires a shard again after a write that failed with any type that persistence.OperationPossiblySucceeded does not list.
// So a write that surely had no effect gets one of the listed types, and all others get persistence.TimeoutError. One namespace
// without keys then disturbs no other namespace of its shard.
var mappings = map[string]func(call client.Call, failure *client.Error) error{
	"ShardOwnershipLost": func(call client.Call, failure *client.Error) error {
		return &persistence.ShardOwnershipLostError{ShardID: call.Shard, Msg: failure.Message}
	},
	"WorkflowConditionFailed": func(_ client.Call, failure *client.Error) error {
		return &persistence.WorkflowConditionFailedError{
			Msg: failure.Message, NextEventID: number(failure, "next_event_id"), DBRecordVersion: number(failure, "db_record_version"),
		}
	},
	"CurrentWorkflowConditionFailed": func(_ client.Call, failure *client.Error) error { return currentWorkflowConditionFailed(failure) },
	"NexusTableVersionConflict":      func(client.Call, *client.Error) error { return persistence.ErrNexusTableVersionConflict },
	"NexusEndpointVersionConflict":   func(client.Call, *client.Error) error { return persistence.ErrNexusEndpointVersionConflict },
	"ConditionFailed": func(_ client.Call, failure *client.Error) error {
		return &persistence.ConditionFailedError{Msg: failure.Message}
	},
	"InvalidPersistenceRequest": func(_ client.Call, failure *client.Error) error {
		return &persistence.InvalidPersistenceRequestError{Msg: failure.Message}
	},
	"TransactionSizeLimit": tooLarge,
	"SealingLimitExceeded": tooLarge,
	"NamespaceAlreadyExists": func(_ client.Call, failure *client.Error) error {
		return serviceerror.NewNamespaceAlreadyExists(failure.Message)
	},
	"NamespaceNotFound": func(client.Call, *client.Error) error { return serviceerror.NewNamespaceNotFound("") },
	"KeyWithdrawn":      func(client.Call, *client.Error) error { return serviceerror.NewNamespaceNotFound("") }, // it was deleted
	"NotFound":          func(_ client.Call, failure *client.Error) error { return serviceerror.NewNotFound(failure.Message) },
	// What a destroyed key sealed can never be read or written again, so Temporal may drop its tasks.
	"KeyDestroyed":        func(_ client.Call, failure *client.Error) error { return serviceerror.NewNotFound(failure.Message) },
	"KekNotConfigured":    invalidArgument,
	"KmsError":            namespaceExhausted,
	"KeyringFileError":    namespaceExhausted,
	"IntegrityError":      damaged,
	"UnsupportedFormat":   damaged,
	"DataLoss":            damaged,
	"ResourceExhausted":   systemExhausted,
	"InvalidPageToken":    invalidArgument,
	"InvalidQuery":        invalidArgument,
	"QueryBudgetExceeded": invalidArgument,
	"QueryDeadlineExceeded": func(_ client.Call, failure *client.Error) error {
		return serviceerror.NewDeadlineExceeded(failure.Message)
	},
	"NotAuthenticated": unavailable,
	// Reads get this type too, as in namespaceExhausted, because it may take long until an operator acts.
	"PermissionDenied": systemExhausted,
	"AuditUnavailable": systemExhausted,
	"PinMismatch":      systemExhausted,
	"PolicyAltered":    systemExhausted, // no row of data is damaged
	"StorageError":     unavailable,
	"Unavailable":      unavailable,
	"Timeout":          unavailable,
}

// answered are kinds whose answer is certain, even if an earlier step of the same call was committed.
var answered = []string{"NamespaceAlreadyExists"}

// Convert returns Temporal's error for a failed call.
func Convert(call client.Call, err error) error {
	var failure *client.Error
	if !errors.As(err, &failure) {
		failure = &client.Error{Message: err.Error(), MayHaveBeenCommitted: true}
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			failure.Kinds = []string{client.KindTimeout}
		}
	}
	if call.Write && failure.MayHaveBeenCommitted && !isAnswered(failure) {
		return UnknownOutcome(call, failure.Message)
	}
	for _, kind := range failure.Kinds {
		if mapping, ok := mappings[kind]; ok {
			return mapping(call, failure)
		}
	}
	if call.Write {
		return UnknownOutcome(call, failure.Error())
	}
	return serviceerror.NewUnavailablef("%s: %s", call.Operation, failure.Error())
}

func isAnswered(failure *client.Error) bool {
	for _, kind := range answered {
		if failure.IsKind(kind) {
			return true
		}
	}
	return false
}

// UnknownOutcome returns the error of a write that may have been committed.
func UnknownOutcome(call client.Call, message string) error {
	return &persistence.TimeoutError{
		Msg: fmt.Sprintf("%s: it is not known whether this write was committed: %s", call.Operation, message),
	}
}

// unavailable is for a failure that is not of one namespace. Temporal retries the read, or the write that had no effect.
func unavailable(call client.Call, failure *client.Error) error {
	if call.Write {
		return systemExhausted(call, failure)
	}
	return serviceerror.NewUnavailable(failure.Message)
}

func systemExhausted(_ client.Call, failure *client.Error) error {
	return exhausted(enumspb.RESOURCE_EXHAUSTED_SCOPE_SYSTEM, failure)
}

// namespaceExhausted is for keys that are not available now. Reads get this error too, because the history service gives up a task
// after 70 attempts that end with Unavailable, but waits without end, and longer each time, while a namespace's resources are
// exhausted.
func namespaceExhausted(_ client.Call, failure *client.Error) error {
	return exhausted(enumspb.RESOURCE_EXHAUSTED_SCOPE_NAMESPACE, failure)
}

// damaged is for rows that were altered, lost or moved. A write that met one had no effect.
func damaged(call client.Call, failure *client.Error) error {
	if call.Write {
		return &persistence.InvalidPersistenceRequestError{Msg: failure.Message}
	}
	return serviceerror.NewDataLoss(failure.Message)
}

func tooLarge(_ client.Call, failure *client.Error) error {
	return &persistence.TransactionSizeLimitError{Msg: failure.Message}
}

func invalidArgument(_ client.Call, failure *client.Error) error {
	return serviceerror.NewInvalidArgument(failure.Message)
}

func exhausted(scope enumspb.ResourceExhaustedScope, failure *client.Error) error {
	return &serviceerror.ResourceExhausted{
		Cause: enumspb.RESOURCE_EXHAUSTED_CAUSE_PERSISTENCE_LIMIT, Scope: scope, Message: failure.Message,
	}
}

func currentWorkflowConditionFailed(failure *client.Error) error {
	result := &persistence.CurrentWorkflowConditionFailedError{Msg: failure.Message}
	runID, exists := failure.Fields["run_id"].([]byte)
	if !exists {
		return result
	}
	if id, err := uuid.FromBytes(runID); err == nil {
		result.RunID = id.String()
	}
	result.State = enumsspb.WorkflowExecutionState(number(failure, "state"))   // #nosec G115 - an enum
	result.Status = enumspb.WorkflowExecutionStatus(number(failure, "status")) // #nosec G115 - an enum
	result.LastWriteVersion = number(failure, "last_write_version")
	if failure.Fields["start_time"] != nil {
		start := time.Unix(0, number(failure, "start_time")).UTC()
		result.StartTime = &start
	}
	state, err := currentState(failure)
	if err != nil {
		return serviceerror.NewDataLoss("the state of the current run can't be decoded: " + err.Error())
	}
	result.RequestIDs = state.RequestIds
	copyFirstExecutionRunID(result, state)
	return result
}

// currentState returns the state of the current run. A run without a stored one has the id of the request that started it.
func currentState(failure *client.Error) (*persistencespb.WorkflowExecutionState, error) {
	fields, ok := failure.Fields["execution_state"].([]any)
	if !ok || len(fields) == 0 {
		first, _ := failure.Fields["create_request_id"].(string)
		return &persistencespb.WorkflowExecutionState{RequestIds: map[string]*persistencespb.RequestIDInfo{
			first: {EventType: enumspb.EVENT_TYPE_WORKFLOW_EXECUTION_STARTED, EventId: common.FirstEventID},
		}}, nil
	}
	blob := &commonpb.DataBlob{EncodingType: enumspb.ENCODING_TYPE_PROTO3}
	blob.Data, _ = fields[0].([]byte)
	if len(fields) > 1 {
		blob.EncodingType = enumspb.EncodingType(asInt(fields[1])) // #nosec G115 - an enum
	}
	return serialization.NewSerializer().WorkflowExecutionStateFromBlob(blob)
}

func number(failure *client.Error, field string) int64 { return asInt(failure.Fields[field]) }

// asInt returns a decoded MessagePack number; 0 if the value is none.
func asInt(value any) int64 {
	switch value := value.(type) {
	case int64:
		return value
	case uint64:
		return int64(value) // #nosec G115 - the stores' numbers are below 2^63
	case int:
		return int64(value)
	}
	return 0
}
