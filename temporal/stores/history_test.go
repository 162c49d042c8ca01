package stores

import (
	"context"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

// A full page has a token even if it is the last one, as with Temporal's own stores. The page after it is empty, and no call is made
// for it. A page that is not full is the last one.
func TestTheTokenOfAFullPage(t *testing.T) {
	for rows, pages := range map[int]int{0: 1, 1: 1, 2: 2} {
		doer := &cell{answer: func(_ client.Call, out *wire.Writer) error {
			page := out.Map()
			page.Field("nodes").Array(rows)
			for node := range rows {
				out.Array(4)
				out.Int(int64(node + 1))
				out.Int(10)
				out.Int(0)
				out.Blob(&blob{Data: []byte("events")})
			}
			page.Field("next_page_token").Nil()
			page.End()
			return nil
		}}
		require.Equal(t, pages, pagesOf(t, executionsOf(t, doer), rows), "%d rows", rows)
		require.Len(t, doer.calls, 1, "%d rows", rows)
	}
}

// pagesOf reads all pages of two nodes of a branch, requires that they have this number of nodes, and returns the number of pages.
func pagesOf(t *testing.T, store *executionStore, nodes int) int {
	t.Helper()
	branchID := uuid.NewString()
	token, err := newBranchUtil(serialization.NewSerializer()).NewHistoryBranch(
		uuid.NewString(), "w", "r", uuid.NewString(), &branchID, nil, 0, 0, 0)
	require.NoError(t, err)
	request := &persistence.InternalReadHistoryBranchRequest{
		BranchToken: token, BranchID: branchID, ShardID: 1, MinNodeID: 1, MaxNodeID: 10, PageSize: 2,
	}
	for pages, read := 1, 0; ; pages++ {
		page, err := store.ReadHistoryBranch(context.Background(), request)
		require.NoError(t, err)
		read += len(page.Nodes)
		if len(page.NextPageToken) == 0 {
			require.Equal(t, nodes, read)
			return pages
		}
		request.NextPageToken = page.NextPageToken
	}
}
