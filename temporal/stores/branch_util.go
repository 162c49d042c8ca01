package stores

import (
	"context"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/cache"
	"go.temporal.io/server/common/persistence"
	"go.temporal.io/server/common/persistence/serialization"
	"google.golang.org/protobuf/encoding/protowire"

	"strongroom/temporal/internal/wire"
)

// namespaceField is the field of HistoryBranch that has the namespace id. Temporal does not know the field, so its code copies it
// with a token. Temporal's own fields have small numbers.
const namespaceField protowire.Number = 1000

// branchUtil makes branch tokens that carry the namespace id, because most calls about history have no other place for it.
type branchUtil struct {
	serializer serialization.Serializer
}

var _ persistence.HistoryBranchUtil = (*branchUtil)(nil)

func newBranchUtil(serializer serialization.Serializer) *branchUtil {
	return &branchUtil{serializer: serializer}
}

// NewHistoryBranch returns the token of a new branch.
func (u *branchUtil) NewHistoryBranch(
	namespaceID, _, _, treeID string,
	branchID *string,
	ancestors []*persistencespb.HistoryBranchRange,
	_, _, _ time.Duration,
) ([]byte, error) {
	namespace, err := uuid.Parse(namespaceID)
	if err != nil {
		return nil, serviceerror.NewInvalidArgument("the namespace id of a history branch is not a UUID")
	}
	branch := &persistencespb.HistoryBranch{TreeId: treeID, Ancestors: ancestors}
	if branchID == nil {
		branch.BranchId = uuid.NewString()
	} else {
		branch.BranchId = *branchID
	}
	setNamespace(branch, namespace)
	return u.token(branch)
}

// ParseHistoryBranchInfo returns the branch of a token. It keeps the namespace id.
func (u *branchUtil) ParseHistoryBranchInfo(branchToken []byte) (*persistencespb.HistoryBranch, error) {
	return u.serializer.HistoryBranchFromBlob(branchToken)
}

// UpdateHistoryBranchInfo returns the token of another branch of the same namespace.
func (u *branchUtil) UpdateHistoryBranchInfo(
	branchToken []byte, branchInfo *persistencespb.HistoryBranch, _ string,
) ([]byte, error) {
	branch, err := u.ParseHistoryBranchInfo(branchToken)
	if err != nil {
		return nil, err
	}
	branch.TreeId = branchInfo.TreeId
	branch.BranchId = branchInfo.BranchId
	branch.Ancestors = branchInfo.Ancestors
	return u.token(branch)
}

func (u *branchUtil) token(branch *persistencespb.HistoryBranch) ([]byte, error) {
	encoded, err := u.serializer.HistoryBranchToBlob(branch)
	if err != nil {
		return nil, err
	}
	return encoded.Data, nil
}

func setNamespace(branch *persistencespb.HistoryBranch, namespace uuid.UUID) {
	field := protowire.AppendTag(nil, namespaceField, protowire.BytesType)
	field = protowire.AppendBytes(field, namespace[:])
	message := branch.ProtoReflect()
	message.SetUnknown(append(message.GetUnknown(), field...))
}

// namespaceIn returns the namespace id of a branch, and whether its token carries one.
func namespaceIn(branch *persistencespb.HistoryBranch) (string, bool) {
	found := ""
	for rest := branch.ProtoReflect().GetUnknown(); len(rest) > 0; {
		field, kind, size := protowire.ConsumeTag(rest)
		if size < 0 {
			return "", false
		}
		rest = rest[size:]
		if field == namespaceField && kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(rest)
			if id, err := uuid.FromBytes(value); err == nil {
				found = id.String()
			}
		}
		if size = protowire.ConsumeFieldValue(field, kind, rest); size < 0 {
			return "", false
		}
		rest = rest[size:]
	}
	return found, found != ""
}

// cachedTrees bounds the memory of treeNamespaces: about 100 bytes for a tree.
const cachedTrees = 10_000

// treeNamespaces finds the namespace of a token that carries none: of a run that another store wrote, or another cluster.
type treeNamespaces struct {
	doer  Doer
	known cache.Cache
}

func newTreeNamespaces(doer Doer) *treeNamespaces {
	return &treeNamespaces{doer: doer, known: cache.New(cachedTrees, &cache.Options{})}
}

// of returns the namespace id of a branch.
func (t *treeNamespaces) of(ctx context.Context, shardID int32, branch *persistencespb.HistoryBranch) (string, error) {
	if namespaceID, ok := namespaceIn(branch); ok {
		return namespaceID, nil
	}
	if namespaceID, ok := t.known.Get(branch.TreeId).(string); ok {
		return namespaceID, nil
	}
	r := newRead("history.namespace_of_tree")
	r.shard(shardID)
	r.uuid("tree_id", branch.TreeId)
	namespaceID := ""
	if err := ask(ctx, t.doer, r, func(reader *wire.Reader) { namespaceID = reader.UUID() }); err != nil {
		if _, missing := err.(*serviceerror.NotFound); missing { //nolint:errorlint // never wrapped
			return "", serviceerror.NewNotFound("the branch token names no namespace, and the cell has no history tree with its tree id")
		}
		return "", err
	}
	t.known.Put(branch.TreeId, namespaceID)
	return namespaceID, nil
}
