package stores

import (
	"bytes"
	"context"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/serviceerror"
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/log/tag"
	"go.temporal.io/server/common/persistence"
	"google.golang.org/protobuf/types/known/timestamppb"

	"strongroom/temporal/internal/wire"
)

// endOfNodes is the token of the empty page after a full last page of nodes. The cell ends there. Temporal's own stores return a token
// with each full page, and the server passes it to its clients, who count such pages.
var endOfNodes = []byte("end")

func (s *executionStore) GetHistoryBranchUtil() persistence.HistoryBranchUtil { return s.branches }

func (s *executionStore) AppendHistoryNodes(
	ctx context.Context, request *persistence.InternalAppendHistoryNodesRequest,
) error {
	r := newWrite("history.append_history_nodes")
	r.call.Shard = request.ShardID
	if err := s.namespace(ctx, r, request.BranchInfo); err != nil {
		return err
	}
	r.appendFields(r.fields, request)
	return run(ctx, s, r)
}

func (s *executionStore) DeleteHistoryNodes(
	ctx context.Context, request *persistence.InternalDeleteHistoryNodesRequest,
) error {
	// A trim builds the BranchInfo of an ancestor without the namespace. So the namespace is taken from the token.
	token, err := s.branches.ParseHistoryBranchInfo(request.BranchToken)
	if err != nil {
		return err
	}
	r := newWrite("history.delete_history_nodes")
	r.call.Shard = request.ShardID
	if err := s.namespace(ctx, r, token); err != nil {
		return err
	}
	r.branch(r.field("branch"), request.ShardID, request.BranchInfo)
	r.field("node_id").Int(request.NodeID)
	r.field("txn_id").Int(request.TransactionID)
	return run(ctx, s, r)
}

func (s *executionStore) ReadHistoryBranch(
	ctx context.Context, request *persistence.InternalReadHistoryBranchRequest,
) (*persistence.InternalReadHistoryBranchResponse, error) {
	response := &persistence.InternalReadHistoryBranchResponse{}
	if bytes.Equal(request.NextPageToken, endOfNodes) {
		return response, nil
	}
	branch, err := s.branches.ParseHistoryBranchInfo(request.BranchToken)
	if err != nil {
		return nil, err
	}
	r := newRead("history.read_history_nodes")
	r.shard(request.ShardID)
	if err := s.namespace(ctx, r, branch); err != nil {
		return nil, err
	}
	r.uuid("tree_id", branch.TreeId)
	r.uuid("branch_id", request.BranchID)
	r.field("min_node_id").Int(request.MinNodeID)
	r.field("max_node_id").Int(request.MaxNodeID)
	r.field("reverse").Bool(request.ReverseOrder)
	r.field("metadata_only").Bool(request.MetadataOnly)
	r.page(request.PageSize, request.NextPageToken)
	err = ask(ctx, s, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "nodes", collect(&response.Nodes, reader, historyNode), nil)
	})
	if err != nil {
		return nil, err
	}
	if response.NextPageToken == nil && len(response.Nodes) > 0 && len(response.Nodes) == request.PageSize {
		response.NextPageToken = endOfNodes
	}
	return response, nil
}

func (s *executionStore) ForkHistoryBranch(
	ctx context.Context, request *persistence.InternalForkHistoryBranchRequest,
) error {
	r := newWrite("history.fork_history_branch")
	r.call.Shard = request.ShardID
	if err := s.namespace(ctx, r, request.ForkBranchInfo); err != nil {
		return err
	}
	r.branch(r.field("branch"), request.ShardID, request.ForkBranchInfo)
	r.field("fork_node_id").Int(request.ForkNodeID)
	r.field("info").Text(request.Info)
	r.uuid("branch_id", request.NewBranchID)
	r.field("tree_info").Blob(request.TreeInfo)
	return run(ctx, s, r)
}

// DeleteHistoryBranch does not use BranchRanges: the cell computes them from the tree, under a lock.
func (s *executionStore) DeleteHistoryBranch(
	ctx context.Context, request *persistence.InternalDeleteHistoryBranchRequest,
) error {
	r := newWrite("history.delete_history_branch")
	r.call.Shard = request.ShardID
	if err := s.namespace(ctx, r, request.BranchInfo); err != nil {
		return err
	}
	r.branch(r.field("branch"), request.ShardID, request.BranchInfo)
	return run(ctx, s, r)
}

func (s *executionStore) GetHistoryTreeContainingBranch(
	ctx context.Context, request *persistence.InternalGetHistoryTreeContainingBranchRequest,
) (*persistence.InternalGetHistoryTreeContainingBranchResponse, error) {
	branch, err := s.branches.ParseHistoryBranchInfo(request.BranchToken)
	if err != nil {
		return nil, err
	}
	r := newRead("history.get_history_tree")
	r.shard(request.ShardID)
	if err := s.namespace(ctx, r, branch); err != nil {
		return nil, err
	}
	r.uuid("tree_id", branch.TreeId)
	var branches []branchInfo
	err = ask(ctx, s, r, func(reader *wire.Reader) {
		reader.Elements(collect(&branches, reader, readBranchInfo))
	})
	if err != nil {
		return nil, err
	}
	response := &persistence.InternalGetHistoryTreeContainingBranchResponse{}
	namespaceID, err := s.namespaces.of(ctx, request.ShardID, branch)
	if err != nil {
		return nil, err
	}
	for _, each := range branches {
		info, err := s.treeInfo(namespaceID, each)
		if err != nil {
			return nil, err
		}
		response.TreeInfos = append(response.TreeInfos, info)
	}
	return response, nil
}

// GetAllHistoryTreeBranches leaves out branches whose rows can't be opened. Temporal's scavenger then leaves them in place.
func (s *executionStore) GetAllHistoryTreeBranches(
	ctx context.Context, request *persistence.GetAllHistoryTreeBranchesRequest,
) (*persistence.InternalGetAllHistoryTreeBranchesResponse, error) {
	if request.PageSize <= 0 {
		return nil, serviceerror.NewInvalidArgument("PageSize must be greater than 0, but was not")
	}
	r := newRead("history.get_all_history_tree_branches")
	r.page(request.PageSize, request.NextPageToken)
	response := &persistence.InternalGetAllHistoryTreeBranchesResponse{}
	var branches []branchInfo
	unreadable := 0
	err := ask(ctx, s, r, func(reader *wire.Reader) {
		response.NextPageToken = readPage(reader, "branches", func() {
			if listed := listedBranch(reader); listed != nil {
				branches = append(branches, *listed)
			} else {
				unreadable++
			}
		}, nil)
	})
	if err != nil {
		return nil, err
	}
	if unreadable > 0 {
		s.logger.Warn("History branches were left out of a list, because their rows can't be opened now.", tag.Int("branches", unreadable))
	}
	for _, each := range branches {
		info, err := s.treeInfo(each.namespaceID, each)
		if err != nil {
			return nil, err
		}
		response.Branches = append(response.Branches, persistence.InternalHistoryBranchDetail{
			TreeID: each.branch.TreeId, BranchID: each.branch.BranchId, Encoding: info.EncodingType.String(), Data: info.Data,
		})
	}
	return response, nil
}

// namespace adds the argument namespace_id.
func (s *executionStore) namespace(ctx context.Context, r *request, branch *persistencespb.HistoryBranch) error {
	namespaceID, err := s.namespaces.of(ctx, r.call.Shard, branch)
	if err != nil {
		return err
	}
	r.uuid("namespace_id", namespaceID)
	return nil
}

// treeInfo returns the HistoryTreeInfo of a branch as it was written. A branch that another writer made, for example an import, has
// none, and gets one from the fields of its row.
func (s *executionStore) treeInfo(namespaceID string, row branchInfo) (*blob, error) {
	if row.treeInfo != nil {
		return row.treeInfo, nil
	}
	if namespace, err := uuid.Parse(namespaceID); err == nil {
		setNamespace(row.branch, namespace)
	}
	return s.serializer.HistoryTreeInfoToBlob(&persistencespb.HistoryTreeInfo{
		BranchInfo: row.branch, ForkTime: timestamppb.New(time.Unix(0, row.forkTime)), Info: row.info,
	})
}
