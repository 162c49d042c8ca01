package visibility_test

import (
	"fmt"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.temporal.io/server/common/persistence/visibility/manager"
)

// Numbers and times at the borders of 8 to 64 bits are listed as they were written, and found by their value.
func TestCellNumbers(t *testing.T) {
	visibility, id := openManager(t, aliases), newID()
	numbers := []int64{0, math.MaxInt64 - 1, math.MaxInt64}
	for _, bits := range []uint{8, 31, 32, 53} {
		numbers = append(numbers, int64(1)<<bits-1, int64(1)<<bits)
	}
	for _, number := range numbers {
		base := run(id, fmt.Sprint(number), 1, 0, map[string]any{
			"Int01": -number - 1, "Datetime01": time.Unix(0, number).UTC(), "Double01": float64(number),
		})
		base.StartTime, base.ExecutionTime = time.Unix(0, number/2+1).UTC(), time.Unix(0, number/2+2).UTC()
		base.Status = completed
		require.NoError(t, visibility.RecordWorkflowExecutionClosed(t.Context(), &manager.RecordWorkflowExecutionClosedRequest{
			VisibilityRequestBase: base, CloseTime: time.Unix(0, number).UTC(), ExecutionDuration: time.Duration(number),
			HistoryLength: number, HistorySizeBytes: number, StateTransitionCount: number,
		}))
		for _, query := range []string{
			fmt.Sprintf("HistoryLength = %d", number), fmt.Sprintf("StateTransitionCount = %d", number),
			fmt.Sprintf("HistorySizeBytes = %d", number), fmt.Sprintf("AliasForInt01 = %d", -number-1),
			fmt.Sprintf("AliasForDatetime01 = '%s'", time.Unix(0, number).UTC().Format(time.RFC3339Nano)),
		} {
			found := list(t, visibility, id, query, 10, nil).Executions
			require.Len(t, found, 1, query)
			info := found[0]
			require.Equal(t, fmt.Sprint(number), info.Execution.WorkflowId)
			require.Equal(t, []int64{number, number, number}, []int64{info.HistoryLength, info.HistorySizeBytes, info.StateTransitionCount})
			require.Equal(t, base.StartTime, info.StartTime.AsTime())
			require.Equal(t, base.ExecutionTime, info.ExecutionTime.AsTime())
			require.Equal(t, time.Unix(0, number).UTC(), info.CloseTime.AsTime())
			require.Equal(t, time.Duration(number), info.ExecutionDuration.AsDuration())
			require.Equal(t, strconv.FormatInt(-number-1, 10), string(info.SearchAttributes.IndexedFields["AliasForInt01"].Data))
		}
	}
}
