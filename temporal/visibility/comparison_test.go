package visibility_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/server/chasm"
	"go.temporal.io/server/common/config"
	"go.temporal.io/server/common/log"
	"go.temporal.io/server/common/namespace"
	"go.temporal.io/server/common/persistence/sql/sqlplugin/sqlite"
	"go.temporal.io/server/common/persistence/visibility/manager"
	"golang.org/x/sync/errgroup"
)

// plainManager returns Temporal's own SQL store, on SQLite in memory.
func plainManager(t *testing.T) manager.VisibilityManager {
	t.Helper()
	return managerOf(t, config.Persistence{
		VisibilityStore: "plain",
		DataStores: map[string]config.DataStore{"plain": {SQL: &config.SQL{
			PluginName: sqlite.PluginName, DatabaseName: "visibility_" + uuid.NewString(), ConnectAddr: "localhost",
			ConnectAttributes: map[string]string{"mode": "memory", "cache": "private"},
		}}},
	}, nil, chasm.NewRegistry(log.NewNoopLogger()), aliases)
}

// filters makes random filters whose meaning is the same in SQL and on Elasticsearch. A negation names only attributes that every run
// has: SQL does not find runs without a value then, and the cell and Elasticsearch do.
type filters struct{ *rand.Rand }

func (f filters) one(of ...string) string { return of[f.IntN(len(of))] }

func (f filters) number() string { return strconv.Itoa(f.IntN(6)) }

func (f filters) comparison() string { return f.one("=", "<", "<=", ">", ">=") }

// moment returns a time in whole milliseconds. SQL stores are less exact than the cell.
func (f filters) moment() time.Time {
	return epoch.Truncate(time.Millisecond).Add(time.Duration(f.IntN(200)) * time.Minute)
}

func (f filters) time() string { return "'" + f.moment().Format(time.RFC3339Nano) + "'" }

func (f filters) condition() string {
	switch f.IntN(14) {
	case 0:
		return fmt.Sprintf("WorkflowId %s 'w%s'", f.one("=", "!=", "STARTS_WITH", "<", ">="), f.number())
	case 1:
		return fmt.Sprintf("WorkflowType %s ('type%s', 'type%s')", f.one("IN", "NOT IN"), f.number(), f.number())
	case 2:
		return fmt.Sprintf("ExecutionStatus %s '%s'", f.one("=", "!="), f.one("Running", "Completed", "Failed", "TimedOut"))
	case 3:
		return fmt.Sprintf("%s %s %s", f.one("StartTime", "CloseTime", "ExecutionTime", "AliasForDatetime01"), f.comparison(), f.time())
	case 4:
		return fmt.Sprintf("%s BETWEEN %s AND %s", f.one("StartTime", "CloseTime", "AliasForDatetime01"), f.time(), f.time())
	case 5:
		return fmt.Sprintf("AliasForKeyword01 %s 'k%s'", f.one("=", "STARTS_WITH", "<", "<=", ">", ">="), f.number())
	case 6:
		return fmt.Sprintf("AliasForKeyword01 IN ('k%s', 'k%s')", f.number(), f.number())
	case 7:
		return fmt.Sprintf("AliasForInt01 %s %s", f.comparison(), f.number())
	case 8:
		return fmt.Sprintf("AliasForDouble01 %s %s.5", f.comparison(), f.number())
	case 9:
		return "AliasForBool01 = " + f.one("true", "false")
	case 10:
		return fmt.Sprintf("AliasForKeywordList01 %s", f.one("= 'l"+f.number()+"'", "IN ('l"+f.number()+"', 'l"+f.number()+"')"))
	case 11:
		return fmt.Sprintf("AliasForText01 = 'word%s'", f.number())
	case 12:
		name := f.one("AliasForKeyword01", "AliasForInt01", "AliasForBool01", "CloseTime", "AliasForKeywordList01", "AliasForKeyword02", "ParentWorkflowId")
		return name + f.one(" IS NULL", " IS NOT NULL")
	default:
		return fmt.Sprintf("HistoryLength %s 1%s", f.comparison(), f.number())
	}
}

func (f filters) filter(depth int) string {
	if depth == 0 || f.IntN(3) == 0 {
		return f.condition()
	}
	return "(" + f.filter(depth-1) + f.one(" AND ", " OR ") + f.filter(depth-1) + ")"
}

// runs returns the records of both stores: open and closed runs, with and without each search attribute.
func (f filters) runs(id namespace.ID, count int) []*manager.VisibilityRequestBase {
	runs := []*manager.VisibilityRequestBase{}
	for number := range count {
		fields := map[string]any{}
		for name, value := range map[string]any{
			"Keyword01": "k" + f.number(), "Int01": f.IntN(6), "Double01": float64(f.IntN(12)) / 2, "Bool01": f.IntN(2) == 0,
			"Text01": "word" + f.number() + " word" + f.number(), "Datetime01": f.moment(),
			"KeywordList01": []string{"l" + f.number(), "l" + f.number()},
		} {
			if f.IntN(3) > 0 {
				fields[name] = value
			}
		}
		base := run(id, fmt.Sprintf("w%d-%d", f.IntN(6), number), 1, number, fields)
		base.WorkflowTypeName = "type" + f.number()
		base.StartTime = base.StartTime.Truncate(time.Millisecond)
		base.ExecutionTime = base.StartTime.Add(time.Duration(f.IntN(3)) * time.Minute)
		runs = append(runs, base)
	}
	return runs
}

// Temporal's own SQL store and the cell give equal answers to random filters: the same runs in the same order, page by page, and the
// same counts and groups. VISIBILITY_FILTERS is the number of filters.
func TestCellAnswersEqualThoseOfPlainSQL(t *testing.T) {
	sealed, plain, id := openManager(t, aliases), plainManager(t), newID()
	count := 40
	if text := os.Getenv("VISIBILITY_FILTERS"); text != "" {
		var err error
		count, err = strconv.Atoi(text)
		require.NoError(t, err)
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	f := filters{rand.New(rand.NewPCG(seed, 0))}
	var writes errgroup.Group // a write to the cell waits for the search index
	for number, base := range f.runs(id, 60) {
		for _, visibility := range []manager.VisibilityManager{sealed, plain} {
			writes.Go(func() error { return write(t.Context(), visibility, *base, number) })
		}
	}
	require.NoError(t, writes.Wait())
	differences := []string{}
	for range count {
		query := f.filter(3)
		expected, actual := everything(t, plain, id, query), everything(t, sealed, id, query)
		if !slices.Equal(expected, actual) {
			differences = append(differences, fmt.Sprintf("%s\n  plain:  %v\n  sealed: %v", query, expected, actual))
		}
	}
	require.Empty(t, differences, strings.Join(differences, "\n"))
}

// write writes the record of a run. Two of three runs are closed.
func write(ctx context.Context, visibility manager.VisibilityManager, base manager.VisibilityRequestBase, number int) error {
	if number%3 == 0 {
		return visibility.RecordWorkflowExecutionStarted(ctx, &manager.RecordWorkflowExecutionStartedRequest{VisibilityRequestBase: &base})
	}
	base.Status = []enumspb.WorkflowExecutionStatus{
		completed, enumspb.WORKFLOW_EXECUTION_STATUS_FAILED, enumspb.WORKFLOW_EXECUTION_STATUS_TIMED_OUT,
	}[number%5%3]
	return visibility.RecordWorkflowExecutionClosed(ctx, &manager.RecordWorkflowExecutionClosedRequest{
		VisibilityRequestBase: &base, CloseTime: base.StartTime.Add(time.Hour), ExecutionDuration: time.Hour, HistoryLength: 10 + int64(number%6),
	})
}

// everything returns what a store answers to a filter: the runs of all pages, the count, and the groups.
func everything(t *testing.T, visibility manager.VisibilityManager, id namespace.ID, query string) []string {
	t.Helper()
	answers := []string{}
	var token []byte
	for {
		page, err := visibility.ListWorkflowExecutions(t.Context(), &manager.ListWorkflowExecutionsRequestV2{
			NamespaceID: id, Namespace: "shop", PageSize: 25, NextPageToken: token, Query: query,
		})
		if err != nil {
			return []string{fmt.Sprintf("error: %T", err)}
		}
		for _, execution := range page.Executions {
			answers = append(answers, execution.Execution.WorkflowId+" "+execution.Status.String())
		}
		if token = page.NextPageToken; len(token) == 0 {
			break
		}
	}
	counted, err := visibility.CountWorkflowExecutions(t.Context(), &manager.CountWorkflowExecutionsRequest{
		NamespaceID: id, Namespace: "shop", Query: query,
	})
	require.NoError(t, err)
	answers = append(answers, strconv.FormatInt(counted.Count, 10))
	grouped, err := visibility.CountWorkflowExecutions(t.Context(), &manager.CountWorkflowExecutionsRequest{
		NamespaceID: id, Namespace: "shop", Query: query + " GROUP BY ExecutionStatus",
	})
	require.NoError(t, err)
	groups := []string{}
	for _, group := range grouped.Groups {
		groups = append(groups, fmt.Sprintf("%s %d", group.GroupValues[0].Data, group.Count))
	}
	slices.Sort(groups)
	return append(answers, groups...)
}
