package stores

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"
	"google.golang.org/protobuf/encoding/protowire"

	"strongroom/temporal/internal/client"
	"strongroom/temporal/internal/wire"
)

var errNotReached = errors.New("this call was not expected")

// The token of a new branch carries its namespace. Parsing, and the fork of a branch, keep it.
func TestTokensKeepTheNamespace(t *testing.T) {
	util := newBranchUtil(serialization.NewSerializer())
	namespaceID, treeID, branchID := uuid.NewString(), uuid.NewString(), uuid.NewString()
	token, err := util.NewHistoryBranch(namespaceID, "w", "r", treeID, &branchID, nil, 0, 0, 0)
	require.NoError(t, err)

	branch, err := util.ParseHistoryBranchInfo(token)
	require.NoError(t, err)
	require.Equal(t, treeID, branch.TreeId)
	require.Equal(t, branchID, branch.BranchId)
	found, ok := namespaceIn(branch)
	require.True(t, ok)
	require.Equal(t, namespaceID, found)

	ancestors := []*persistencespb.HistoryBranchRange{{BranchId: branchID, BeginNodeId: 1, EndNodeId: 5}}
	forked, err := util.UpdateHistoryBranchInfo(
		token, &persistencespb.HistoryBranch{TreeId: treeID, BranchId: uuid.NewString(), Ancestors: ancestors}, "")
	require.NoError(t, err)
	branch, err = util.ParseHistoryBranchInfo(forked)
	require.NoError(t, err)
	require.Len(t, branch.Ancestors, 1)
	found, _ = namespaceIn(branch)
	require.Equal(t, namespaceID, found)
}

// Fields that a later Temporal adds to a token survive a fork.
func TestTokensKeepUnknownFields(t *testing.T) {
	util := newBranchUtil(serialization.NewSerializer())
	token, err := util.NewHistoryBranch(uuid.NewString(), "", "", uuid.NewString(), nil, nil, 0, 0, 0)
	require.NoError(t, err)
	later := protowire.AppendString(protowire.AppendTag(nil, 77, protowire.BytesType), "later")
	forked, err := util.UpdateHistoryBranchInfo(append(token, later...), &persistencespb.HistoryBranch{TreeId: uuid.NewString()}, "")
	require.NoError(t, err)
	require.Contains(t, string(forked), string(later))
}

// A namespace id that is no UUID is refused before a token is made of it.
func TestTokensOfNoNamespace(t *testing.T) {
	_, err := newBranchUtil(serialization.NewSerializer()).NewHistoryBranch("", "", "", uuid.NewString(), nil, nil, 0, 0, 0)
	require.IsType(t, &serviceerror.InvalidArgument{}, err)
}

// The namespace of a token that another store made is looked up once. A tree that the cell does not have is NotFound.
func TestTokensOfAnotherStore(t *testing.T) {
	namespaceID, treeID := uuid.New(), uuid.NewString()
	known := &cell{answer: func(call client.Call, out *wire.Writer) error {
		if call.Operation == "history.namespace_of_tree" {
			out.Bytes16(namespaceID)
			return nil
		}
		out.Map().End()
		return nil
	}}
	plain := persistence.NewHistoryBranchUtil(serialization.NewSerializer())
	branchID := uuid.NewString()
	token, err := plain.NewHistoryBranch("", "", "", treeID, &branchID, nil, 0, 0, 0)
	require.NoError(t, err)
	request := &persistence.InternalReadHistoryBranchRequest{BranchToken: token, BranchID: branchID, ShardID: 3, PageSize: 10}
	store := executionsOf(t, known)
	for range 2 {
		_, err = store.ReadHistoryBranch(context.Background(), request)
		require.NoError(t, err)
		require.Equal(t, namespaceID[:], known.arguments(t)["namespace_id"])
	}
	require.Len(t, known.calls, 3)

	missing := &cell{answer: func(call client.Call, _ *wire.Writer) error {
		if call.Operation != "history.namespace_of_tree" {
			return errNotReached
		}
		return &client.Error{Kinds: []string{"NotFound", "StorageError"}, Message: "m"}
	}}
	_, err = executionsOf(t, missing).ReadHistoryBranch(context.Background(), request)
	require.IsType(t, &serviceerror.NotFound{}, err)
}
