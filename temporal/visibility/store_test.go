package visibility

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	commonpb "go.temporal.io/api/common/v1"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/payload"
	"go.temporal.io/server/common/persistence/visibility/manager"
	persistencestore "go.temporal.io/server/common/persistence/visibility/store"
	"go.temporal.io/server/common/searchattribute"
	"go.temporal.io/server/common/searchattribute/sadefs"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

// answers is a cell that answers the calls in turn and keeps them.
type answers struct {
	calls  []client.Call
	errors []error
	answer []byte
}

func (a *answers) Do(_ context.Context, call client.Call) ([]byte, error) {
	a.calls = append(a.calls, call)
	if len(a.errors) >= len(a.calls) {
		return nil, a.errors[len(a.calls)-1]
	}
	if a.answer != nil {
		return a.answer, nil
	}
	return []byte{0x80}, nil
}

func (a *answers) Close() {}

// argumentsOf returns the arguments of a call as Go's own values.
func argumentsOf(t *testing.T, call client.Call) map[string]any {
	t.Helper()
	r := wire.NewReader(call.Arguments)
	arguments, ok := r.Value().(map[string]any)
	require.NoError(t, r.Err())
	require.True(t, ok)
	return arguments
}

func storeOn(cell *answers) *Store {
	return newStore(cell, "strongroom", 4, searchattribute.NewTestProvider(),
		searchattribute.NewTestMapperProvider(&searchattribute.TestMapper{Namespace: "ns"}), chasm.NewRegistry(log.NewNoopLogger()), log.NewNoopLogger())
}

func started(fields map[string]*commonpb.Payload) *persistencestore.InternalRecordWorkflowExecutionStartedRequest {
	return &persistencestore.InternalRecordWorkflowExecutionStartedRequest{
		InternalVisibilityRequestBase: &persistencestore.InternalVisibilityRequestBase{
			NamespaceID: uuid.NewString(), WorkflowID: "w", RunID: uuid.NewString(), TaskID: 7,
			Status: enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING, StartTime: time.Unix(3, 4),
			SearchAttributes: &commonpb.SearchAttributes{IndexedFields: fields},
		},
	}
}

func encoded(t *testing.T, value any) *commonpb.Payload {
	t.Helper()
	result, err := payload.Encode(value)
	require.NoError(t, err)
	return result
}

// Every type of search attribute survives the way to the cell and back, with its type in the payload.
func TestValuesReturnAsTheyWereWritten(t *testing.T) {
	moment := time.Date(2026, 11, 30, 1, 2, 3, 456_789_012, time.UTC)
	known := searchattribute.TestNameTypeMap()
	written := map[string]any{
		"Bool01": true, "Int01": int64(math.MaxInt64), "Double01": 5.0, "Keyword01": "k", "Text01": "some words",
		"Datetime01": moment, "KeywordList01": []string{"a", "b"}, "BuildIds": []string{"x"},
	}
	fields := map[string]*commonpb.Payload{}
	for name, value := range written {
		fields[name] = encoded(t, value)
	}
	decoded, err := decodeAttributes(&commonpb.SearchAttributes{IndexedFields: fields}, known, log.NewNoopLogger())
	require.NoError(t, err)
	require.Equal(t, moment.UnixNano(), decoded.values["Datetime01"])
	var w wire.Writer
	writeRecord(&w, &record{status: "Running", attributes: decoded.values})
	r := wire.NewReader(w.Bytes())
	stored := readRecord(r)
	require.NoError(t, r.Err())
	again, err := encodeAttributes(stored.attributes, known)
	require.NoError(t, err)
	require.Len(t, again.IndexedFields, len(written))
	for name, value := range written {
		kind, err := known.GetType(name)
		require.NoError(t, err)
		require.Equal(t, kind, sadefs.GetMetadataType(again.IndexedFields[name]), name)
		decoded, err := sadefs.DecodeValue(again.IndexedFields[name], kind, false)
		require.NoError(t, err)
		require.Equal(t, value, decoded, name)
	}
}

// A list of one element is this element, an empty value is none, and the type of an attribute that the server does not know is in
// its payload.
func TestValuesOfOtherForms(t *testing.T) {
	unknown := encoded(t, "later")
	sadefs.SetMetadataType(unknown, enumspb.INDEXED_VALUE_TYPE_KEYWORD)
	fields := map[string]*commonpb.Payload{
		"Keyword01": encoded(t, []string{"one"}), "Keyword02": encoded(t, []string{"two", "three"}), "Int01": encoded(t, []int64{1}),
		"Int02": encoded(t, []int64{1, 2}), "KeywordList01": encoded(t, []string{}), "Text01": encoded(t, nil),
		"TemporalLater": unknown, "NoType": encoded(t, "x"),
		"Datetime01": encoded(t, time.Date(1600, 1, 1, 0, 0, 0, 0, time.UTC)), "Text02": encoded(t, strings.Repeat("x", maxTextBytes+1)),
	}
	decoded, err := decodeAttributes(
		&commonpb.SearchAttributes{IndexedFields: fields}, searchattribute.TestNameTypeMap(), log.NewNoopLogger())
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"Keyword01": "one", "Int01": int64(1), "TemporalLater": "later",
	}, decoded.values)
	require.Equal(t, enumspb.INDEXED_VALUE_TYPE_KEYWORD, decoded.types["TemporalLater"])
}

// A value of another type fails the write, as in Temporal's stores, and the error does not quote it.
func TestAWrongTypeIsAnErrorWithoutTheValue(t *testing.T) {
	_, err := decodeAttributes(&commonpb.SearchAttributes{IndexedFields: map[string]*commonpb.Payload{
		"Int01": encoded(t, "secret"),
	}}, searchattribute.TestNameTypeMap(), log.NewNoopLogger())
	require.ErrorContains(t, err, "Int")
	require.NotContains(t, err.Error(), "secret")
}

// The frontend refuses values that the cell can't store before a run has them.
func TestValidationNamesAllAttributesThatCantBeStored(t *testing.T) {
	store := storeOn(&answers{})
	valid, err := store.ValidateCustomSearchAttributes(map[string]any{
		"Keyword01": "x", "Keyword02": []string{"a", "b"}, "KeywordList01": []string{"a", "b"},
		"Datetime01": time.Date(2300, 1, 1, 0, 0, 0, 0, time.UTC), "Text01": strings.Repeat("x", maxTextBytes+1), "Int01": nil,
	})
	var refused *serviceerror.InvalidArgument
	require.ErrorAs(t, err, &refused)
	for _, name := range []string{"Keyword02", "Datetime01", "Text01"} {
		require.ErrorContains(t, err, name)
	}
	require.Equal(t, map[string]any{"Keyword01": "x", "KeywordList01": []string{"a", "b"}, "Int01": nil}, valid)
}

// A record goes to the shard of its workflow, with the id of the task as its version and with the types of its own attributes.
func TestRecordArguments(t *testing.T) {
	cell := &answers{}
	request := started(map[string]*commonpb.Payload{"Keyword01": encoded(t, "x")})
	require.NoError(t, storeOn(cell).RecordWorkflowExecutionStarted(t.Context(), request))
	call := cell.calls[0]
	require.Equal(t, "visibility.record_workflow_executions", call.Operation)
	require.True(t, call.Write)
	arguments := argumentsOf(t, call)
	require.Equal(t, map[string]any{"Keyword01": "Keyword"}, arguments["types"])
	written, ok := arguments["records"].([]any)[0].([]any)
	require.True(t, ok)
	require.EqualValues(t, call.Shard, written[0])
	require.EqualValues(t, 7, written[1])
	fields, ok := written[2].([]any)
	require.True(t, ok)
	require.Len(t, fields, 18)
	require.Equal(t, []any{"w", request.RunID, "", "Running", ""}, fields[:5])
	require.EqualValues(t, 3_000_000_004, fields[5])
	require.EqualValues(t, 0, fields[6])
	require.Equal(t, []any{nil, nil, nil, nil, nil}, fields[7:12])
}

// One value that the cell refuses does not keep the run out of the index.
func TestARefusedAttributeIsLeftOut(t *testing.T) {
	refusal := &client.Error{Kinds: []string{"InvalidRecord", "VisibilityError"}, Fields: map[string]any{"attribute": "Text01"}}
	cell := &answers{errors: []error{refusal}}
	request := started(map[string]*commonpb.Payload{"Keyword01": encoded(t, "x"), "Text01": encoded(t, "y")})
	require.NoError(t, storeOn(cell).RecordWorkflowExecutionStarted(t.Context(), request))
	require.Len(t, cell.calls, 2)
	require.Equal(t, map[string]any{"Keyword01": "Keyword"}, argumentsOf(t, cell.calls[1])["types"])

	cell = &answers{errors: []error{&client.Error{Kinds: []string{"InvalidRecord"}, Message: "no close_time"}}}
	err := storeOn(cell).RecordWorkflowExecutionStarted(t.Context(), request)
	var refused *serviceerror.InvalidArgument
	require.ErrorAs(t, err, &refused)
	require.Len(t, cell.calls, 1)
}

// A deletion has the version of its task. Temporal's forced deletions have the highest one, which leaves no room for the mark.
func TestVersionsOfDeletions(t *testing.T) {
	for taskID, version := range map[int64]int64{0: lastVersion, 12: 12, math.MaxInt64: lastVersion} {
		cell := &answers{}
		request := &manager.VisibilityDeleteWorkflowExecutionRequest{WorkflowID: "w", RunID: uuid.NewString(), TaskID: taskID}
		request.NamespaceID = "8e5f2a0e-6b55-4cd6-8a4f-0a3f7a5f0f11"
		require.NoError(t, storeOn(cell).DeleteWorkflowExecution(t.Context(), request))
		require.EqualValues(t, version, argumentsOf(t, cell.calls[0])["version"])
	}
}

// A list sends the attributes that its filter names: aliases with their field and type, others with their type.
func TestListArguments(t *testing.T) {
	cell := &answers{}
	_, err := storeOn(cell).ListWorkflowExecutions(t.Context(), &manager.ListWorkflowExecutionsRequestV2{
		NamespaceID: "8e5f2a0e-6b55-4cd6-8a4f-0a3f7a5f0f11", Namespace: "ns", PageSize: 9, NextPageToken: []byte("t"),
		Query: "AliasForKeyword01 = 'x' AND Int01 = 1",
	})
	require.NoError(t, err)
	arguments := argumentsOf(t, cell.calls[0])
	require.Equal(t, map[string]any{
		"AliasForKeyword01": map[string]any{"name": "Keyword01", "type": "Keyword"}, "Int01": "Int",
	}, arguments["types"])
	require.EqualValues(t, 9, arguments["page_size"])
	require.Equal(t, []byte("t"), arguments["page_token"])
	require.EqualValues(t, 0, cell.calls[0].Shard)
}

// A full page has a token even if it is the last one, as in Temporal's stores. The empty page after it costs no call.
func TestAFullLastPageHasAToken(t *testing.T) {
	var w wire.Writer
	arguments := w.Map()
	arguments.Field("executions").Array(2)
	for range 2 {
		writeRecord(&w, &record{workflowID: "w", runID: "8e5f2a0e-6b55-4cd6-8a4f-0a3f7a5f0f11", status: "Running"})
	}
	arguments.Field("next_page_token").Nil()
	arguments.End()
	cell := &answers{answer: w.Bytes()}
	page := func(size int, token []byte) *persistencestore.InternalListExecutionsResponse {
		found, err := storeOn(cell).ListWorkflowExecutions(t.Context(), &manager.ListWorkflowExecutionsRequestV2{
			NamespaceID: "8e5f2a0e-6b55-4cd6-8a4f-0a3f7a5f0f11", Namespace: "ns", PageSize: size, NextPageToken: token,
		})
		require.NoError(t, err)
		return found
	}
	require.Empty(t, page(3, nil).NextPageToken)
	full := page(2, nil)
	require.Len(t, full.Executions, 2)
	require.NotEmpty(t, full.NextPageToken)
	calls := len(cell.calls)
	after := page(2, full.NextPageToken)
	require.Empty(t, after.Executions)
	require.Empty(t, after.NextPageToken)
	require.Len(t, cell.calls, calls)
}

// A bad filter is the caller's fault, and the caller gets the reason.
func TestErrorsOfFilters(t *testing.T) {
	for _, kinds := range [][]string{{"MalformedQuery", "InvalidQuery"}, {"QueryBudgetExceeded"}, {"InvalidPageToken"}} {
		cell := &answers{errors: []error{&client.Error{Kinds: kinds, Message: "the reason"}}}
		_, err := storeOn(cell).CountWorkflowExecutions(t.Context(), &manager.CountWorkflowExecutionsRequest{
			NamespaceID: "8e5f2a0e-6b55-4cd6-8a4f-0a3f7a5f0f11",
		})
		var refused *serviceerror.InvalidArgument
		require.ErrorAs(t, err, &refused, kinds)
		require.ErrorContains(t, err, "the reason")
	}
}

// Both settings of the store are mandatory, and the error says what to set.
func TestSettings(t *testing.T) {
	create := func(index string, options map[string]any) error {
		_, err := Factory{HistoryShards: 4}.NewVisibilityStore(
			config.CustomDatastoreConfig{Name: "v", IndexName: index, Options: options}, nil, nil, nil, nil, nil, log.NewNoopLogger(), nil)
		return err
	}
	require.ErrorContains(t, create("strongroom", nil), "customDatastore.options.socket")
	require.ErrorContains(t, create("", map[string]any{"socket": "/nowhere"}), "customDatastore.indexName")
}

// An answer of another version is an error, not an empty list.
func TestADamagedAnswer(t *testing.T) {
	for _, answer := range [][]byte{{}, {0xc1}, {0x81, 0xaa}, []byte("\x81\xaaexecutions\x91\x91\x05")} {
		_, _, err := readPage(answer)
		require.Error(t, err)
		_, err = readOne(answer)
		require.Error(t, err)
	}
}
