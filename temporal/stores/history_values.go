package stores

import (
	persistencespb "go.temporal.io/server/api/persistence/v1"
	"go.temporal.io/server/common/persistence"

	"strongroom/temporal/internal/wire"
)

// branch writes a HistoryBranch.
func (r *request) branch(writer *wire.Writer, shardID int32, branch *persistencespb.HistoryBranch) {
	fields := writer.Map()
	fields.Field("shard_id").Int(int64(shardID))
	r.id(fields.Field("tree_id"), "tree_id", branch.TreeId)
	r.id(fields.Field("branch_id"), "branch_id", branch.BranchId)
	if len(branch.Ancestors) > 0 {
		writer := fields.Field("ancestors")
		writer.Array(len(branch.Ancestors))
		for _, ancestor := range branch.Ancestors {
			part := writer.Map()
			r.id(part.Field("branch_id"), "branch_id of an ancestor", ancestor.BranchId)
			part.Field("begin_node").Int(ancestor.BeginNodeId)
			part.Field("end_node").Int(ancestor.EndNodeId)
			part.End()
		}
	}
	fields.End()
}

// appends writes several HistoryAppends, each with one node.
func (r *request) appends(fields *wire.Map, name string, requests []*persistence.InternalAppendHistoryNodesRequest) {
	if len(requests) == 0 {
		return
	}
	writer := fields.Field(name)
	writer.Array(len(requests))
	for _, request := range requests {
		each := writer.Map()
		r.appendFields(each, request)
		each.End()
	}
}

// appendFields writes the fields of a HistoryAppend, which are also the arguments of append_history_nodes.
func (r *request) appendFields(fields *wire.Map, request *persistence.InternalAppendHistoryNodesRequest) {
	r.branch(fields.Field("branch"), request.ShardID, request.BranchInfo)
	writer := fields.Field("nodes")
	writer.Array(1)
	writer.Array(4)
	writer.Int(request.Node.NodeID)
	writer.Int(request.Node.TransactionID)
	writer.Int(request.Node.PrevTransactionID)
	writer.Blob(request.Node.Events)
	if !request.IsNewBranch {
		return
	}
	fields.Field("is_new_branch").Bool(true)
	fields.Field("info").Text(request.Info)
	if request.TreeInfo != nil {
		fields.Field("tree_info").Blob(request.TreeInfo)
	}
}

func historyNode(reader *wire.Reader) persistence.InternalHistoryNode {
	var node persistence.InternalHistoryNode
	reader.Tuple(func(index int) {
		switch index {
		case 0:
			node.NodeID = reader.Int()
		case 1:
			node.TransactionID = reader.Int()
		case 2:
			node.PrevTransactionID = reader.Int()
		case 3:
			node.Events = reader.Blob()
		}
	})
	return node
}

// branchInfo is the row of a branch in its tree.
type branchInfo struct {
	// namespaceID is the namespace, which only a list of all namespaces names.
	namespaceID string
	branch      *persistencespb.HistoryBranch
	info        string
	forkTime    int64
	treeInfo    *blob
}

func readBranchInfo(reader *wire.Reader) branchInfo {
	var row branchInfo
	reader.Fields(func(name string) {
		switch name {
		case "branch":
			row.branch = historyBranch(reader)
		case "info":
			row.info = reader.Text()
		case "fork_time_ns":
			row.forkTime = reader.Int()
		case "tree_info":
			row.treeInfo = reader.Blob()
		}
	})
	return row
}

// listedBranch reads a ListedBranch; nil if its row can't be opened.
func listedBranch(reader *wire.Reader) *branchInfo {
	var row *branchInfo
	namespaceID := ""
	reader.Fields(func(name string) {
		switch name {
		case "namespace_id":
			namespaceID = reader.UUID()
		case "info":
			if !reader.Nil() {
				info := readBranchInfo(reader)
				row = &info
			}
		}
	})
	if row != nil {
		row.namespaceID = namespaceID
	}
	return row
}

func historyBranch(reader *wire.Reader) *persistencespb.HistoryBranch {
	branch := &persistencespb.HistoryBranch{}
	reader.Fields(func(name string) {
		switch name {
		case "tree_id":
			branch.TreeId = reader.UUID()
		case "branch_id":
			branch.BranchId = reader.UUID()
		case "ancestors":
			reader.Elements(collect(&branch.Ancestors, reader, branchRange))
		}
	})
	return branch
}

func branchRange(reader *wire.Reader) *persistencespb.HistoryBranchRange {
	part := &persistencespb.HistoryBranchRange{}
	reader.Fields(func(name string) {
		switch name {
		case "branch_id":
			part.BranchId = reader.UUID()
		case "begin_node":
			part.BeginNodeId = reader.Int()
		case "end_node":
			part.EndNodeId = reader.Int()
		}
	})
	return part
}
