"""Check that Citus runs a statement for all shards on the nodes. Only PostgreSQL's parser is needed, no cluster.

Each rule is for something that failed on Citus 13.2.2: it refused the statement, crashed the coordinator, or copied a table to one
node. An item of FROM is *spread* if its rows of a distributed table stay on the nodes. A page is not, because LIMIT gathers its rows.
"""

from __future__ import annotations

from pglast import ast, parse_sql
from pglast.enums import JoinType

from tests.support.confinement import descend, partition_column

_FULL_LEFT, _FULL_RIGHT = {JoinType.JOIN_LEFT, JoinType.JOIN_FULL}, {JoinType.JOIN_RIGHT, JoinType.JOIN_FULL}


def faults_on_nodes(sql):
    """Return what in a statement does not run on the nodes of a cluster; nothing for a statement that does."""
    found = []
    for raw in parse_sql(sql):
        for node in (raw.stmt, *descend(raw.stmt)):
            if isinstance(node, ast.JoinExpr):
                found += _of_join(node)
            elif isinstance(node, ast.RangeSubselect):
                found += _of_subselect(node.subquery)
            elif isinstance(node, ast.SelectStmt):
                found += _of_select(node)
    return found


def _of_join(join):
    """Yield the tables that are copied for an outer join with an item that is not spread. It can crash the coordinator."""
    for optional, outer, types in ((join.rarg, join.larg, _FULL_LEFT), (join.larg, join.rarg, _FULL_RIGHT)):
        if join.jointype in types and not _is_spread(outer):
            yield from (f"{name} is copied for an outer join" for name in _tables(optional))


def _of_subselect(query):
    """Yield the tables of a sub-query without columns, which Citus writes as wrong SQL."""
    if not query.targetList and not query.valuesLists:
        yield from (f"{name} in a sub-query without columns" for name in _tables(query))


def _of_select(query):
    """Yield the tables of correlated sub-queries next to a FROM that is not spread, which Citus refuses."""
    items = query.fromClause or ()
    if not items or any(map(_is_spread, items)):
        return
    expressions = [*(query.targetList or ()), *filter(None, [query.whereClause])]
    for link in (each for expression in expressions for each in (expression, *descend(expression))):
        if isinstance(link, ast.SubLink) and _is_correlated(link.subselect):
            yield from (f"{name} in a correlated sub-query" for name in _tables(link.subselect))


def _is_spread(item):
    if isinstance(item, ast.JoinExpr):
        return _is_spread(item.larg) or _is_spread(item.rarg)
    if isinstance(item, ast.RangeSubselect):
        query = item.subquery
        gathers = query.limitCount or query.limitOffset or query.distinctClause or query.groupClause
        return not gathers and any(map(_is_spread, query.fromClause or ()))
    return partition_column(item) is not None


def _is_correlated(query):
    """Return whether a query names an alias that is not its own. All statements name the table of each column of an outer query."""
    nodes = [query, *descend(query)]
    aliases = {node.alias.aliasname for node in nodes if getattr(node, "alias", None) is not None}
    aliases |= {node.relname for node in nodes if isinstance(node, ast.RangeVar)}
    columns = [node.fields for node in nodes if isinstance(node, ast.ColumnRef) and len(node.fields) > 1]
    return any(fields[0].sval not in aliases for fields in columns)


def _tables(node):
    return [each.relname for each in (node, *descend(node)) if partition_column(each)]
