package visibility

import (
	"time"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/visibility"
	persistencestore "go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/searchattribute"
)

// record is a VisibilityRecord of visibility/index/record.py. Times and durations are nanoseconds. An empty id stands for none.
type record struct {
	workflowID       string
	runID            string
	workflowType     string
	status           string
	taskQueue        string
	startTime        int64
	executionTime    int64
	closed           *closing
	parentWorkflowID string
	parentRunID      string
	rootWorkflowID   string
	rootRunID        string
	attributes       map[string]any
	memo             []byte
}

// closing has the fields that only closed runs have.
type closing struct {
	closeTime            int64
	executionDuration    int64
	historyLength        int64
	historySizeBytes     int64
	stateTransitionCount int64
}

func openRecord(request *persistencestore.InternalVisibilityRequestBase, values map[string]any) *record {
	return &record{
		workflowID:       request.WorkflowID,
		runID:            request.RunID,
		workflowType:     request.WorkflowTypeName,
		status:           request.Status.String(),
		taskQueue:        request.TaskQueue,
		startTime:        nanoseconds(request.StartTime),
		executionTime:    nanoseconds(request.ExecutionTime),
		parentWorkflowID: textOf(request.ParentWorkflowID),
		parentRunID:      textOf(request.ParentRunID),
		rootWorkflowID:   request.RootWorkflowID,
		rootRunID:        request.RootRunID,
		attributes:       values,
		memo:             request.Memo.GetData(),
	}
}

func closingOf(request *persistencestore.InternalRecordWorkflowExecutionClosedRequest) *closing {
	return &closing{
		closeTime:            nanoseconds(request.CloseTime),
		executionDuration:    int64(request.ExecutionDuration),
		historyLength:        request.HistoryLength,
		historySizeBytes:     request.HistorySizeBytes,
		stateTransitionCount: request.StateTransitionCount,
	}
}

// info returns the record as Temporal's visibility manager takes it.
func (r *record) info(known searchattribute.NameTypeMap) (*persistencestore.InternalExecutionInfo, error) {
	status, err := enumspb.WorkflowExecutionStatusFromString(r.status)
	if err != nil {
		return nil, damaged("execution_status", err)
	}
	info := &persistencestore.InternalExecutionInfo{
		WorkflowID:       r.workflowID,
		RunID:            r.runID,
		TypeName:         r.workflowType,
		StartTime:        timeOf(r.startTime),
		ExecutionTime:    timeOf(r.executionTime),
		Status:           status,
		TaskQueue:        r.taskQueue,
		ParentWorkflowID: r.parentWorkflowID,
		ParentRunID:      r.parentRunID,
		RootWorkflowID:   r.rootWorkflowID,
		RootRunID:        r.rootRunID,
		Memo:             persistence.NewDataBlob(r.memo, visibility.MemoEncoding.String()),
	}
	if r.executionTime == 0 {
		info.ExecutionTime = info.StartTime
	}
	if r.closed != nil {
		info.CloseTime = timeOf(r.closed.closeTime)
		info.ExecutionDuration = time.Duration(r.closed.executionDuration)
		info.HistoryLength = r.closed.historyLength
		info.HistorySizeBytes = r.closed.historySizeBytes
		info.StateTransitionCount = r.closed.stateTransitionCount
	}
	info.SearchAttributes, err = encodeAttributes(r.attributes, known)
	return info, err
}

// nanoseconds returns a time in nanoseconds since 1970. Go's zero time, and times that don't fit, are as far from it as possible.
func nanoseconds(value time.Time) int64 {
	switch {
	case value.IsZero():
		return 0
	case value.Before(firstTime):
		return firstTime.UnixNano()
	case value.After(lastTime):
		return lastTime.UnixNano()
	default:
		return value.UnixNano()
	}
}

func timeOf(nanoseconds int64) time.Time { return time.Unix(0, nanoseconds).UTC() }

func textOf(text *string) string {
	if text == nil {
		return ""
	}
	return *text
}
