package visibility_test

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	workflowpb "go.temporal.io/api/workflow/v1"
	"go.temporal.io/server/api/visibilityservice/v1"
	chasmtests "go.temporal.io/server/chasm/lib/tests"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/payload"
	"go.temporal.io/server/common/persistence/visibility/manager"
	"go.temporal.io/server/common/searchattribute"
	"go.temporal.io/server/common/searchattribute/sadefs"
)

const (
	running   = enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	completed = enumspb.WORKFLOW_EXECUTION_STATUS_COMPLETED
)

var epoch = time.Date(2026, 11, 30, 1, 2, 3, 456_789_012, time.UTC)

// aliases are custom search attributes as an operator registered them.
var aliases = &searchattribute.TestMapper{Namespace: "shop"}

// run returns the record of a run in the namespace shop, which started a number of minutes after the epoch.
func run(id namespace.ID, workflowID string, version int64, minutes int, fields map[string]any) *manager.VisibilityRequestBase {
	base := &manager.VisibilityRequestBase{
		NamespaceID: id, Namespace: "shop", WorkflowTypeName: "order", TaskQueue: "orders", Status: running, TaskID: version, ShardID: 1,
		Execution:     &commonpb.WorkflowExecution{WorkflowId: workflowID, RunId: uuid.NewString()},
		StartTime:     epoch.Add(time.Duration(minutes) * time.Minute),
		ExecutionTime: epoch.Add(time.Duration(minutes) * time.Minute),
	}
	base.RootExecution = base.Execution
	if fields != nil {
		base.SearchAttributes = &commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{}}
	}
	for name, value := range fields {
		encoded, err := payload.Encode(value)
		if err != nil {
			panic(err)
		}
		base.SearchAttributes.IndexedFields[name] = encoded
	}
	return base
}

func start(t *testing.T, visibility manager.VisibilityManager, base *manager.VisibilityRequestBase) {
	t.Helper()
	require.NoError(t, visibility.RecordWorkflowExecutionStarted(t.Context(), &manager.RecordWorkflowExecutionStartedRequest{
		VisibilityRequestBase: base,
	}))
}

func closeRun(t *testing.T, visibility manager.VisibilityManager, base *manager.VisibilityRequestBase, status enumspb.WorkflowExecutionStatus) {
	t.Helper()
	base.Status = status
	base.TaskID++
	require.NoError(t, visibility.RecordWorkflowExecutionClosed(t.Context(), &manager.RecordWorkflowExecutionClosedRequest{
		VisibilityRequestBase: base, CloseTime: base.StartTime.Add(time.Hour), ExecutionDuration: time.Hour, HistoryLength: 11,
		HistorySizeBytes: 2_222, StateTransitionCount: 33,
	}))
}

func list(
	t *testing.T, visibility manager.VisibilityManager, id namespace.ID, query string, size int, token []byte,
) *manager.ListWorkflowExecutionsResponse {
	t.Helper()
	page, err := visibility.ListWorkflowExecutions(t.Context(), &manager.ListWorkflowExecutionsRequestV2{
		NamespaceID: id, Namespace: "shop", PageSize: size, NextPageToken: token, Query: query,
	})
	require.NoError(t, err, query)
	return page
}

func workflowIDs(executions []*workflowpb.WorkflowExecutionInfo) []string {
	ids := []string{}
	for _, execution := range executions {
		ids = append(ids, execution.GetExecution().GetWorkflowId())
	}
	return ids
}

func newID() namespace.ID { return namespace.ID(uuid.NewString()) }

// Every field of a closed run is returned by a list and by its ids as it was written.
func TestCellAllFieldsOfARun(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	base := run(id, "order 1", 5, 0, map[string]any{
		"Keyword01": "gold", "Int01": 7, "Double01": 2.0, "Bool01": true, "Text01": "fragile goods",
		"Datetime01": epoch, "KeywordList01": []string{"a", "b"}, sadefs.TemporalChangeVersion: []string{"c-1"},
	})
	base.Memo = &commonpb.Memo{Fields: map[string]*commonpb.Payload{"note": payload.EncodeString("handle with care")}}
	base.ParentExecution = &commonpb.WorkflowExecution{WorkflowId: "parent", RunId: uuid.NewString()}
	base.RootExecution = &commonpb.WorkflowExecution{WorkflowId: "root", RunId: uuid.NewString()}
	base.ExecutionTime = base.StartTime.Add(time.Second)
	start(t, visibility, base)
	closeRun(t, visibility, base, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT)

	answer, err := visibility.GetWorkflowExecution(t.Context(), &manager.GetWorkflowExecutionRequest{
		NamespaceID: id, Namespace: "shop", WorkflowID: "order 1", RunID: base.Execution.RunId,
	})
	require.NoError(t, err)
	listed := list(t, visibility, id, "AliasForKeyword01 = 'gold'", 10, nil).Executions
	require.Len(t, listed, 1)
	for _, info := range []*workflowpb.WorkflowExecutionInfo{answer.Execution, listed[0]} {
		require.Equal(t, base.Execution.RunId, info.Execution.RunId)
		require.Equal(t, "order", info.Type.Name)
		require.Equal(t, "orders", info.TaskQueue)
		require.Equal(t, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT, info.Status)
		require.Equal(t, base.StartTime, info.StartTime.AsTime())
		require.Equal(t, base.ExecutionTime, info.ExecutionTime.AsTime())
		require.Equal(t, base.StartTime.Add(time.Hour), info.CloseTime.AsTime())
		require.Equal(t, time.Hour, info.ExecutionDuration.AsDuration())
		require.Equal(t, []int64{11, 2_222, 33}, []int64{info.HistoryLength, info.HistorySizeBytes, info.StateTransitionCount})
		require.Equal(t, base.ParentExecution.RunId, info.ParentExecution.RunId)
		require.Equal(t, "root", info.RootExecution.WorkflowId)
		require.Equal(t, `"handle with care"`, string(info.Memo.Fields["note"].Data))
		fields := info.SearchAttributes.IndexedFields
		require.Len(t, fields, 8)
		require.Equal(t, []string{"2", "Double"}, []string{
			string(fields["AliasForDouble01"].Data), string(fields["AliasForDouble01"].Metadata["type"]),
		})
		require.Equal(t, `["a","b"]`, string(fields["AliasForKeywordList01"].Data))
		require.Equal(t, `["c-1"]`, string(fields[sadefs.TemporalChangeVersion].Data))
		require.Equal(t, strconv.Quote(epoch.Format(time.RFC3339Nano)), string(fields["AliasForDatetime01"].Data))
	}
}

// Search attributes of every type are searched and sorted by the names that the operator gave them.
func TestCellCustomSearchAttributesByTheirNames(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	for number := range 4 {
		base := run(id, fmt.Sprintf("w%d", number), 1, number, map[string]any{
			"Keyword01": fmt.Sprintf("k%d", number), "Int01": number, "Double01": float64(number) / 2, "Bool01": number%2 == 0,
			"Text01": fmt.Sprintf("number %d of four", number), "Datetime01": epoch.Add(time.Duration(number) * time.Hour),
			"KeywordList01": []string{"all", fmt.Sprintf("l%d", number)},
		})
		start(t, visibility, base)
	}
	for query, want := range map[string][]string{
		"AliasForKeyword01 = 'k2'":                                        {"w2"},
		"AliasForKeyword01 IN ('k0', 'k3')":                               {"w3", "w0"},
		"AliasForKeyword01 STARTS_WITH 'k' ORDER BY AliasForKeyword01":    {"w0", "w1", "w2", "w3"},
		"AliasForInt01 > 1":                                               {"w3", "w2"},
		"AliasForInt01 BETWEEN 1 AND 2":                                   {"w2", "w1"},
		"AliasForDouble01 <= 0.5":                                         {"w1", "w0"},
		"AliasForBool01 = true":                                           {"w2", "w0"},
		"AliasForText01 = '2'":                                            {"w2"},
		"AliasForDatetime01 > '2026-11-30T02:30:00Z'":                     {"w3", "w2"},
		"AliasForKeywordList01 = 'l1'":                                    {"w1"},
		"AliasForKeywordList01 IN ('l1', 'l3')":                           {"w3", "w1"},
		"Keyword01 = 'k1'":                                                {"w1"},
		"AliasForKeyword02 IS NULL AND `AliasWithHyphenFor-Int01` = 3":    {"w3"},
		"WorkflowId STARTS_WITH 'w' AND NOT AliasForKeywordList01 = 'l1'": {"w3", "w2", "w0"},
		"RunId IS NOT NULL AND StartTime > '2026-11-30T01:03:30Z' AND WorkflowType = 'order' AND AliasForInt01 != 3": {"w2"},
	} {
		require.Equal(t, want, workflowIDs(list(t, visibility, id, query, 10, nil).Executions), query)
	}
}

// An upsert replaces all search attributes and the memo, and one that is left out is gone.
func TestCellUpsert(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	base := run(id, "w", 1, 0, map[string]any{"Keyword01": "before", "Int01": 1})
	start(t, visibility, base)
	after := run(id, "w", 2, 0, map[string]any{"Keyword01": "after", "KeywordList01": []string{}})
	after.Execution = base.Execution
	require.NoError(t, visibility.UpsertWorkflowExecution(t.Context(), &manager.UpsertWorkflowExecutionRequest{VisibilityRequestBase: after}))
	require.Eventually(t, func() bool {
		return len(list(t, visibility, id, "AliasForKeyword01 = 'after'", 10, nil).Executions) == 1
	}, time.Minute, 20*time.Millisecond)
	require.Empty(t, list(t, visibility, id, "AliasForKeyword01 = 'before' OR AliasForInt01 = 1", 10, nil).Executions)
}

// A task that is executed late changes nothing, and a deleted run does not come back.
func TestCellVersions(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	base := run(id, "w", 10, 0, nil)
	start(t, visibility, base)
	closeRun(t, visibility, base, completed)
	late := run(id, "w", 10, 0, nil)
	late.Execution = base.Execution
	late.Status = completed // what the helper waits for
	late.WorkflowTypeName = "late"
	require.NoError(t, visibility.RecordWorkflowExecutionClosed(t.Context(), &manager.RecordWorkflowExecutionClosedRequest{
		VisibilityRequestBase: late, CloseTime: epoch,
	}))
	require.Equal(t, "order", list(t, visibility, id, "", 10, nil).Executions[0].Type.Name)
	remove := &manager.VisibilityDeleteWorkflowExecutionRequest{
		NamespaceID: id, WorkflowID: "w", RunID: base.Execution.RunId, TaskID: 20,
	}
	require.NoError(t, visibility.DeleteWorkflowExecution(t.Context(), remove))
	require.NoError(t, visibility.DeleteWorkflowExecution(t.Context(), remove), "deleting again is no error")
	_, err := visibility.GetWorkflowExecution(t.Context(), &manager.GetWorkflowExecutionRequest{
		NamespaceID: id, Namespace: "shop", WorkflowID: "w", RunID: base.Execution.RunId,
	})
	var notFound *serviceerror.NotFound
	require.ErrorAs(t, err, &notFound)
}

// Counts are exact, and GROUP BY has a payload of type Keyword for each status.
func TestCellCounts(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	for number := range 5 {
		base := run(id, fmt.Sprintf("w%d", number), 1, number, map[string]any{"Int01": number})
		start(t, visibility, base)
		if number > 2 {
			closeRun(t, visibility, base, enumspb.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW)
		}
	}
	count := func(query string) *manager.CountWorkflowExecutionsResponse {
		counted, err := visibility.CountWorkflowExecutions(t.Context(), &manager.CountWorkflowExecutionsRequest{
			NamespaceID: id, Namespace: "shop", Query: query,
		})
		require.NoError(t, err, query)
		return counted
	}
	require.EqualValues(t, 5, count("").Count)
	require.EqualValues(t, 2, count("AliasForInt01 < 2").Count)
	require.EqualValues(t, 2, count("ExecutionStatus = 'ContinuedAsNew'").Count)
	grouped := count("AliasForInt01 > 0 GROUP BY ExecutionStatus")
	require.EqualValues(t, 4, grouped.Count)
	sizes := map[string]int64{}
	for _, group := range grouped.Groups {
		require.Equal(t, "Keyword", string(group.GroupValues[0].Metadata["type"]))
		sizes[string(group.GroupValues[0].Data)] = group.Count
	}
	require.Equal(t, map[string]int64{`"Running"`: 2, `"ContinuedAsNew"`: 2}, sizes)
}

// Pages have every run once, in Temporal's order: open runs first, then the last closed, then the last started.
func TestCellPages(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	want := []string{}
	for number := range 9 {
		base := run(id, fmt.Sprintf("w%d", number), 1, number, nil)
		start(t, visibility, base)
		if number < 5 {
			closeRun(t, visibility, base, completed)
		}
	}
	for _, number := range []int{8, 7, 6, 5, 4, 3, 2, 1, 0} {
		want = append(want, fmt.Sprintf("w%d", number))
	}
	var token []byte
	found := []string{}
	for range 5 {
		page := list(t, visibility, id, "WorkflowType = 'order'", 2, token)
		found = append(found, workflowIDs(page.Executions)...)
		if token = page.NextPageToken; len(token) == 0 {
			break
		}
	}
	require.Equal(t, want, found)
	all := list(t, visibility, id, "WorkflowType = 'order'", 9, nil)
	require.Len(t, all.Executions, 9)
	after := list(t, visibility, id, "WorkflowType = 'order'", 9, all.NextPageToken)
	require.NotEmpty(t, all.NextPageToken)
	require.Empty(t, after.Executions)
	require.Empty(t, after.NextPageToken)
	first := list(t, visibility, id, "WorkflowType = 'order'", 2, nil).NextPageToken
	for _, broken := range [][]byte{[]byte("nonsense"), first[:len(first)-4]} {
		_, err := visibility.ListWorkflowExecutions(t.Context(), &manager.ListWorkflowExecutionsRequestV2{
			NamespaceID: id, Namespace: "shop", PageSize: 2, Query: "WorkflowType = 'order'", NextPageToken: broken,
		})
		var refused *serviceerror.InvalidArgument
		require.ErrorAs(t, err, &refused)
	}
}

// A bad filter is an InvalidArgument that names the fault and quotes no value.
func TestCellBadFilters(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	start(t, visibility, run(id, "w", 1, 0, nil))
	for _, query := range []string{
		"WorkflowId =", "NoSuchAttribute = 'secret'", "AliasForInt01 = 'secret'", "WorkflowId LIKE 'secret'", "StartTime = 'secret'",
		"ExecutionStatus = 'secret'", "WorkflowId = 'w' LIMIT 3", "AliasForText01 STARTS_WITH 'secret'", "ORDER BY AliasForText01",
		"WorkflowType = 'x' GROUP BY ExecutionStatus",
	} {
		_, err := visibility.ListWorkflowExecutions(t.Context(), &manager.ListWorkflowExecutionsRequestV2{
			NamespaceID: id, Namespace: "shop", PageSize: 2, Query: query,
		})
		var refused *serviceerror.InvalidArgument
		require.ErrorAs(t, err, &refused, query)
		require.ErrorContains(t, err, "invalid query", query)
		require.NotContains(t, err.Error(), "secret", query)
	}
	_, err := visibility.CountWorkflowExecutions(t.Context(), &manager.CountWorkflowExecutionsRequest{
		NamespaceID: id, Namespace: "shop", Query: "GROUP BY WorkflowType",
	})
	var refused *serviceerror.InvalidArgument
	require.ErrorAs(t, err, &refused)
}

// Executions of CHASM are listed and counted by themselves, by the aliases of their component, which may be those of system attributes.
func TestCellExecutionsOfAnArchetype(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	archetype := strconv.FormatUint(uint64(chasmtests.ArchetypeID), 10)
	start(t, visibility, run(id, "workflow", 1, 0, nil))
	for number := range 3 {
		base := run(id, fmt.Sprintf("store%d", number), 1, number, map[string]any{
			sadefs.TemporalNamespaceDivision: archetype, "Keyword01": "gold",
		})
		for name, value := range map[string]any{
			"TemporalInt01": int64(number), "TemporalLowCardinalityKeyword01": []string{"Active", "Frozen"}[number%2],
		} {
			kind := enumspb.INDEXED_VALUE_TYPE_INT
			if _, ok := value.(string); ok {
				kind = enumspb.INDEXED_VALUE_TYPE_KEYWORD
			}
			base.SearchAttributes.IndexedFields[name] = sadefs.MustEncodeValue(value, kind)
		}
		base.Memo = &commonpb.Memo{}
		start(t, visibility, base)
	}
	ask := func(query string) *visibilityservice.ListChasmExecutionsResponse {
		answer, err := visibility.ListChasmExecutions(t.Context(), &visibilityservice.ListChasmExecutionsRequest{
			ArchetypeId: uint32(chasmtests.ArchetypeID), NamespaceId: id.String(), Namespace: "shop", PageSize: 10, Query: query,
		})
		require.NoError(t, err, query)
		return answer
	}
	require.Len(t, ask("").Executions, 3)
	frozen := ask("ExecutionStatus = 'Frozen' AND PayloadTotalCount = 1 AND AliasForKeyword01 = 'gold' AND PayloadStoreId = 'store1' AND TaskQueue = 'orders'")
	require.Len(t, frozen.Executions, 1)
	execution := frozen.Executions[0]
	require.Equal(t, "store1", execution.BusinessId)
	require.Equal(t, "1", string(execution.ChasmSearchAttributes.IndexedFields["PayloadTotalCount"].Data))
	require.Equal(t, `"Frozen"`, string(execution.ChasmSearchAttributes.IndexedFields["ExecutionStatus"].Data))
	require.Equal(t, `"gold"`, string(execution.CustomSearchAttributes.IndexedFields["AliasForKeyword01"].Data))
	counted, err := visibility.CountChasmExecutions(t.Context(), &visibilityservice.CountChasmExecutionsRequest{
		ArchetypeId: uint32(chasmtests.ArchetypeID), NamespaceId: id.String(), Namespace: "shop", Query: "GROUP BY ExecutionStatus",
	})
	require.NoError(t, err)
	require.EqualValues(t, 3, counted.Count)
	require.Len(t, counted.Groups, 2)
	require.Equal(t, []string{"workflow"}, workflowIDs(list(t, visibility, id, "", 10, nil).Executions))
	_, err = visibility.ListChasmExecutions(t.Context(), &visibilityservice.ListChasmExecutionsRequest{ArchetypeId: 5})
	var refused *serviceerror.InvalidArgument
	require.ErrorAs(t, err, &refused)
}
