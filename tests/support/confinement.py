"""Check that a statement stays in one shard of a Citus cluster. Only PostgreSQL's parser is needed, no cluster.

The rule is narrower than Citus's. A statement must compare each distributed table, at any depth, with a parameter (`$n`, or
`p_shard` in a function), in a conjunct at the table's own query level. An inserted value must be that parameter, or must have been
compared with it. So no inference of a planner is needed. An outer join or a correlated sub-query confines only itself.
"""

from __future__ import annotations

from pglast import ast, parse_plpgsql, parse_sql
from pglast.enums import A_Expr_Kind, BoolExprType, JoinType
from pglast.stream import RawStream

from strongroom.storage.schema.tables import TABLES, VIEWS

P_SHARD = "p_shard"
_PARTITION_COLUMNS = {table.name: table.partition_column for table in TABLES}
_ASSIGNMENT = frozenset({3, 4, 5})
_EXPRESSION = 2


def faults_of_function(sql):
    """Return the faults of the statements in the body of a PL/pgSQL function."""
    found = []
    for kind, node in _nodes(parse_plpgsql(sql)):
        if kind == "PLpgSQL_stmt_dynexecute":
            found.append("a statement that is put together at run time")
        if kind == "PLpgSQL_expr":
            query, mode = node["query"], node.get("parseMode", 0)
            if mode == _EXPRESSION:
                query = f"SELECT {query}"
            elif mode in _ASSIGNMENT:
                query = f"SELECT {query.partition(':=')[2]}"
            found += faults(query, in_function=True)
    return found


def faults(sql, *, in_function=False):
    """Return the faults of a statement; none if it goes to one shard, or touches no distributed table."""
    return [fault for raw in parse_sql(sql) for fault in _Checker(in_function=in_function).check(raw.stmt)]


class _Checker:
    def __init__(self, *, in_function):
        self._in_function = in_function

    def check(self, statement):
        """Yield the faults of a statement and of every query in it."""
        if isinstance(statement, ast.SelectStmt):
            yield from self._select(statement)
        elif isinstance(statement, ast.InsertStmt):
            yield from self._insert(statement)
        elif isinstance(statement, ast.UpdateStmt | ast.DeleteStmt):
            yield from self._change(statement)
        else:
            yield f"a statement of another kind: {type(statement).__name__}"
            return
        yield from self._with(statement)
        for query in _inner_queries(statement):
            yield from self.check(query)

    def _with(self, statement):
        clause = statement.withClause
        for cte in clause.ctes if clause is not None else ():
            if isinstance(cte.ctequery, ast.InsertStmt) and partition_column(cte.ctequery.relation):
                yield f"an INSERT into {cte.ctequery.relation.relname} in a common table expression"
            if clause.recursive and any(partition_column(node) for node in descend(cte.ctequery)):
                yield "a recursive query of a distributed table"

    def _select(self, statement):
        yield from self._tables(statement.fromClause or (), _conjuncts(statement.whereClause))

    def _change(self, statement):
        column = partition_column(statement.relation)
        for target in getattr(statement, "targetList", None) or ():
            if column and target.name == column:
                yield f"sets {column} of {statement.relation.relname}"
        others = statement.fromClause if isinstance(statement, ast.UpdateStmt) else statement.usingClause
        yield from self._tables((statement.relation, *(others or ())), _conjuncts(statement.whereClause))

    def _insert(self, statement):
        table, column = statement.relation.relname, partition_column(statement.relation)
        if column is None:
            return
        names = [target.name for target in statement.cols or ()]
        if column not in names:
            yield f"inserts into {table} without naming {column}"
            return
        place, source = names.index(column), statement.selectStmt
        if source.valuesLists:
            confined = all(self._parameter(row[place]) for row in source.valuesLists)
        else:
            value = source.targetList[place].val
            confined = self._parameter(value) or self._compared(value, _conjuncts(source.whereClause))
        if not confined:
            yield f"inserts rows of any {column} into {table}"
        conflict = statement.onConflictClause
        if conflict is not None and any(target.name == column for target in conflict.targetList or ()):
            yield f"sets {column} of {table}"
        for target in (conflict and conflict.targetList) or ():
            # Citus allows immutable functions only.
            yield from (f"calls {call.funcname[-1].sval} in DO UPDATE of {table}" for call in _calls(target))

    def _tables(self, items, where):
        """Yield the tables of a FROM clause that nothing confines."""
        found = [table for item in items for table in _range_tables(item, ())]
        for table, conditions in found:
            column = partition_column(table)
            if column is None:
                continue
            alias = table.alias.aliasname if table.alias is not None else table.relname
            names = [(alias, column)] + [(column,)] * (len(found) == 1)
            if not any(self._confines(names, condition) for condition in (*where, *conditions)):
                yield f"{table.relname} AS {alias} without {column}"

    def _confines(self, names, condition):
        sides = _equality(condition)
        return any(
            _column(one) in names and self._parameter(other) for one, other in (sides, sides[::-1]) if one is not None
        )

    def _compared(self, value, conditions):
        text = RawStream()(value)
        for condition in conditions:
            sides = _equality(condition)
            for one, other in (sides, sides[::-1]):
                if one is not None and RawStream()(one) == text and self._parameter(other):
                    return True
        return False

    def _parameter(self, node):
        while isinstance(node, ast.TypeCast):
            node = node.arg
        if self._in_function:
            return _column(node) == (P_SHARD,)
        return isinstance(node, ast.ParamRef)


def partition_column(node):
    """Return the distribution column of a distributed table; None for any other node."""
    if not isinstance(node, ast.RangeVar):
        return None
    return _PARTITION_COLUMNS.get(VIEWS.get(node.relname, node.relname))


def _range_tables(item, conditions):
    """Yield the tables of a FROM item, each with the join conditions that all its result rows satisfy."""
    if isinstance(item, ast.RangeVar):
        yield item, conditions
    elif isinstance(item, ast.JoinExpr):
        own = _conjuncts(item.quals)
        left = own if item.jointype in {JoinType.JOIN_INNER, JoinType.JOIN_RIGHT} else ()
        right = own if item.jointype in {JoinType.JOIN_INNER, JoinType.JOIN_LEFT} else ()
        yield from _range_tables(item.larg, (*conditions, *left))
        yield from _range_tables(item.rarg, (*conditions, *right))


def _conjuncts(node):
    if isinstance(node, ast.BoolExpr) and node.boolop == BoolExprType.AND_EXPR:
        return tuple(each for argument in node.args for each in _conjuncts(argument))
    return () if node is None else (node,)


def _equality(node):
    if isinstance(node, ast.A_Expr) and node.kind == A_Expr_Kind.AEXPR_OP and node.name[0].sval == "=":
        return node.lexpr, node.rexpr
    return None, None


def _column(node):
    if not isinstance(node, ast.ColumnRef) or any(isinstance(part, ast.A_Star) for part in node.fields):
        return None
    return tuple(part.sval for part in node.fields)


def _inner_queries(node):
    """Yield the queries right below a statement: in WITH, in FROM, in expressions, around a UNION, behind INSERT."""
    for child in _children(node):
        if isinstance(child, ast.SelectStmt | ast.InsertStmt | ast.UpdateStmt | ast.DeleteStmt):
            yield child
        else:
            yield from _inner_queries(child)


def _calls(node):
    return [each for each in descend(node) if isinstance(each, ast.FuncCall)]


def descend(node):
    for child in _children(node):
        yield child
        yield from descend(child)


def _children(node):
    for name in node:
        value = getattr(node, name)
        yield from (child for child in _flat(value) if isinstance(child, ast.Node))


def _flat(value):
    if isinstance(value, tuple | list):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _nodes(tree):
    """Yield all nodes of a PL/pgSQL tree, each with its kind."""
    if isinstance(tree, dict):
        for kind, node in tree.items():
            yield kind, node
            yield from _nodes(node)
    elif isinstance(tree, list):
        for node in tree:
            yield from _nodes(node)
