package visibility

import (
	"fmt"
	"maps"
	"slices"

	"github.com/google/uuid"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"

	"strongroom/temporal/internal/wire"
)

// run is the place of a record. The shard is always the workflow's own, because Temporal names none when it reads or deletes.
type run struct {
	namespaceID uuid.UUID
	shard       int32
	workflowID  string
	runID       string
}

// recordArguments are the arguments of record_workflow_executions for one record.
func recordArguments(place run, version int64, r *record, types map[string]enumspb.IndexedValueType) []byte {
	var w wire.Writer
	arguments := w.Map()
	arguments.Field("namespace_id").Bytes16(place.namespaceID)
	arguments.Field("records").Array(1)
	w.Array(3)
	w.Int(int64(place.shard))
	w.Int(version)
	writeRecord(&w, r)
	arguments.Field("types")
	written := w.Map()
	for name, kind := range types {
		written.Field(name).Text(kind.String())
	}
	written.End()
	arguments.End()
	return w.Bytes()
}

// runArguments are the arguments of get_workflow_execution and, with a version, of delete_workflow_execution.
func runArguments(place run, version *int64) []byte {
	var w wire.Writer
	arguments := w.Map()
	arguments.Field("namespace_id").Bytes16(place.namespaceID)
	arguments.Field("shard_id").Int(int64(place.shard))
	arguments.Field("workflow_id").Text(place.workflowID)
	arguments.Field("run_id").Text(place.runID)
	if version != nil {
		arguments.Field("version").Int(*version)
	}
	arguments.End()
	return w.Bytes()
}

// search is a list or a count.
type search struct {
	namespaceID uuid.UUID
	filter      string
	fields      map[string]field
	archetypeID uint32
}

// write writes the arguments that lists and counts share. The fields are sorted, because the cell caches a filter with its fields.
func (s search) write(w *wire.Writer, arguments *wire.Map) {
	arguments.Field("namespace_id").Bytes16(s.namespaceID)
	arguments.Field("query").Text(s.filter)
	arguments.Field("types")
	types := w.Map()
	for _, name := range slices.Sorted(maps.Keys(s.fields)) {
		found := s.fields[name]
		types.Field(name)
		if found.name == name {
			w.Text(found.kind.String())
			continue
		}
		attribute := w.Map()
		attribute.Field("name").Text(found.name)
		attribute.Field("type").Text(found.kind.String())
		attribute.End()
	}
	types.End()
	arguments.Field("archetype_id").Int(int64(s.archetypeID))
}

func (s search) countArguments() []byte {
	var w wire.Writer
	arguments := w.Map()
	s.write(&w, arguments)
	arguments.End()
	return w.Bytes()
}

func (s search) listArguments(pageSize int, pageToken []byte) []byte {
	var w wire.Writer
	arguments := w.Map()
	s.write(&w, arguments)
	arguments.Field("page_size").Int(int64(pageSize))
	if len(pageToken) > 0 {
		arguments.Field("page_token").Raw(pageToken)
	}
	arguments.End()
	return w.Bytes()
}

// writeRecord writes a record as an array in the order of the fields of VisibilityRecord.
func writeRecord(w *wire.Writer, r *record) {
	w.Array(18)
	w.Text(r.workflowID)
	w.Text(r.runID)
	w.Text(r.workflowType)
	w.Text(r.status)
	w.Text(r.taskQueue)
	w.Int(r.startTime)
	w.Int(r.executionTime)
	if r.closed == nil {
		for range 5 {
			w.Nil()
		}
	} else {
		w.Int(r.closed.closeTime)
		w.Int(r.closed.executionDuration)
		w.Int(r.closed.historyLength)
		w.Int(r.closed.historySizeBytes)
		w.Int(r.closed.stateTransitionCount)
	}
	for _, id := range []string{r.parentWorkflowID, r.parentRunID, r.rootWorkflowID, r.rootRunID} {
		if id == "" {
			w.Nil()
		} else {
			w.Text(id)
		}
	}
	attributes := w.Map()
	for name, value := range r.attributes {
		writeValue(attributes.Field(name), value)
	}
	attributes.End()
	w.Raw(r.memo)
}

func writeValue(w *wire.Writer, value any) {
	switch value := value.(type) {
	case bool:
		w.Bool(value)
	case int64:
		w.Int(value)
	case float64:
		w.Float(value)
	case string:
		w.Text(value)
	case []string:
		w.Array(len(value))
		for _, text := range value {
			w.Text(text)
		}
	default:
		w.Nil() // storable returns nothing else
	}
}

// readPage reads an ExecutionsPage.
func readPage(answer []byte) ([]*record, []byte, error) {
	var records []*record
	var token []byte
	r := wire.NewReader(answer)
	r.Fields(func(name string) {
		switch name {
		case "executions":
			r.Elements(func() { records = append(records, readRecord(r)) })
		case "next_page_token":
			token = r.Raw()
		}
	})
	return records, token, damagedBy(r)
}

// group is one value of a GROUP BY with its number of runs.
type group struct {
	value string
	count int64
}

// readCount reads an ExecutionCount.
func readCount(answer []byte) (int64, []group, error) {
	var count int64
	var groups []group
	r := wire.NewReader(answer)
	r.Fields(func(name string) {
		switch name {
		case "count":
			count = r.Int()
		case "groups":
			r.Elements(func() {
				var next group
				r.Tuple(func(index int) {
					switch index {
					case 0:
						next.value = r.Text()
					case 1:
						next.count = r.Int()
					}
				})
				groups = append(groups, next)
			})
		}
	})
	return count, groups, damagedBy(r)
}

// readRecord reads a VisibilityRecord.
func readRecord(r *wire.Reader) *record {
	var own record
	var closed closing
	texts := []*string{&own.workflowID, &own.runID, &own.workflowType, &own.status, &own.taskQueue}
	times := []*int64{&own.startTime, &own.executionTime}
	ofClosed := []*int64{
		&closed.closeTime, &closed.executionDuration, &closed.historyLength, &closed.historySizeBytes, &closed.stateTransitionCount,
	}
	relatives := []*string{&own.parentWorkflowID, &own.parentRunID, &own.rootWorkflowID, &own.rootRunID}
	r.Tuple(func(index int) {
		switch {
		case index < 5:
			*texts[index] = r.Text()
		case index < 7:
			*times[index-5] = r.Int()
		case index < 12:
			if !r.Nil() {
				*ofClosed[index-7] = r.Int()
				own.closed = &closed
			}
		case index < 16:
			if !r.Nil() {
				*relatives[index-12] = r.Text()
			}
		case index == 16:
			own.attributes = readValues(r)
		case index == 17:
			own.memo = r.Raw()
		}
	})
	return &own
}

func readValues(r *wire.Reader) map[string]any {
	values := map[string]any{}
	r.Entries(func() {
		name := r.Text()
		switch value := r.Value().(type) {
		case uint64:
			values[name] = int64(value)
		case []any:
			texts := make([]string, 0, len(value))
			for _, element := range value {
				if text, ok := element.(string); ok {
					texts = append(texts, text)
				}
			}
			values[name] = texts
		default:
			values[name] = value
		}
	})
	return values
}

func damagedBy(r *wire.Reader) error {
	if err := r.Err(); err != nil {
		return damaged("an answer", err)
	}
	return nil
}

// damaged returns an error for an answer that this version can't read. It quotes no value.
func damaged(what string, err error) error {
	return serviceerror.NewInternal(fmt.Sprintf("strongroom serve sent %s that can't be read: %v; check that both have the same version", what, err))
}

// readOne reads a VisibilityRecord that is the whole answer.
func readOne(answer []byte) (*record, error) {
	r := wire.NewReader(answer)
	stored := readRecord(r)
	return stored, damagedBy(r)
}
