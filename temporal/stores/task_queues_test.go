package stores

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

// One damaged row does not stop the backlog of a task queue. A row that can be read later is waited for: Temporal would otherwise
// acknowledge it with those around it.
func TestTasksThatCannotBeRead(t *testing.T) {
	for kind, waits := range map[string]bool{"IntegrityError": false, "KeyDestroyed": false, "KmsUnavailable": true} {
		store, err := factoryOf(&cell{answer: func(_ client.Call, out *wire.Writer) error {
			page := out.Map()
			page.Field("tasks").Array(1)
			out.Array(2)
			out.Int(1)
			out.Blob(&blob{Data: []byte("task")})
			page.Field("unreadable").Array(1)
			row := out.Map()
			row.Field("task_id").Int(2)
			why := row.Field("reason").Map()
			why.Field("kinds").Array(1)
			out.Text(kind)
			why.Field("permanent").Bool(kind == "KeyDestroyed")
			why.End()
			row.End()
			page.Field("next_page_token").Nil()
			page.End()
			return nil
		}}).NewTaskStore()
		require.NoError(t, err)
		page, err := store.GetTasks(context.Background(), &persistence.GetTasksRequest{
			NamespaceID: uuid.NewString(), TaskQueue: "q", PageSize: 10, ExclusiveMaxTaskID: 100,
		})
		if waits {
			require.IsType(t, &serviceerror.ResourceExhausted{}, err, kind)
			continue
		}
		require.NoError(t, err, kind)
		require.Len(t, page.Tasks, 1)
	}
}
